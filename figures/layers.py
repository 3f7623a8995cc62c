"""Layer by layer: each metric, and the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from figures import words
from figures.axes import Layered, Range, Row, labelled_lines, layer_axis, layer_width, table, vertical
from figures.registry import Report, figure
from figures.style import BLUE, wrap

SMALL_WIDTH, SMALL_HEIGHT, HEIGHT = 250, 130, 280
OVERVIEW: Final = (
    "variability_trace_ratio",
    "within_class_variability",
    "class_mean_rank",
    "class_mean_effective_rank",
    "simplex_etf_distance",
    "orthogonal_frame_distance",
    "nearest_center_accuracy",
    "weight_alignment",
    "balancedness",
)
"""Metrics that are drawn side by side, those of them that the report has."""


def measured(report: Report) -> dict[str, Mapping[str, Any]]:
    """The catalogue's entries of the metrics that have a value in some layer."""
    return {
        name: entry
        for name, entry in report["catalogue"].items()
        if any(layer["metrics"].get(name) is not None for layer in report["layers"])
    }


def _overview(report: Report) -> list[str]:
    there = measured(report)
    return [name for name in OVERVIEW if name in there] or list(there)[: len(OVERVIEW)]


@figure(lambda report: {"metrics": "Collapse and rank, layer by layer"} if measured(report) else {})
def metrics(report: Report, _: str) -> alt.TopLevelMixin:
    """The main metrics side by side."""
    catalogue = report["catalogue"]
    charts = [
        metric_chart(report, name, width=SMALL_WIDTH, height=SMALL_HEIGHT).properties(
            title=alt.TitleParams(
                text=wrap(catalogue[name]["title"], 44),
                fontSize=11,
                fontWeight=500,
                anchor="start",
                frame="group",
                offset=6,
            )
        )
        for name in _overview(report)
    ]
    return alt.concat(*charts, columns=3, spacing=22)


def metric_chart(report: Report, metric: str, *, width: int, height: int, named: bool = False) -> Layered:
    """One metric over the layers, with its ideal where that is a number. named: its name stands at the axis."""
    entry = report["catalogue"][metric]
    rows = _rows(report, {metric: "value"})
    values = [row["value"] for row in rows]
    ideal = entry["ideal"] if isinstance(entry["ideal"], int | float) else None
    lines = {f"ideal {words.number(ideal)}": float(ideal)} if ideal is not None else {}
    shown = Range.around([*values, *lines.values()], log=entry["scale"] == "log")
    title = metric.replace("_", " ") if named else ""
    chart = alt.Chart(table(rows))
    place = {"x": layer_axis([row["layer"] for row in rows], width=width), "y": vertical("value", title, shown)}
    layers = [chart.mark_line(color=BLUE, strokeWidth=2).encode(**place)]
    layers += [chart.mark_point(color=BLUE, filled=True, size=45, opacity=1).encode(**place)]
    return alt.layer(labelled_lines(lines, shown, height=height, title=title), *layers).properties(
        width=width, height=height
    )


def _rows(report: Report, columns: Mapping[str, str]) -> list[Row]:
    """A row for each layer, with its metrics under our own names."""
    names = words.labels(layer["name"] for layer in report["layers"])
    return [
        {
            "layer": label,
            "position": position,
            **{column: layer["metrics"].get(metric) for metric, column in columns.items()},
        }
        for position, (label, layer) in enumerate(zip(names, report["layers"], strict=True), 1)
    ]


def _ranks(report: Report) -> list[Row]:
    rows = _rows(report, {"class_mean_rank": "rank"})
    summaries = (report.get("summary") or {}).get("layers") or [{}] * len(rows)
    return [
        {**row, "dnc": summary.get("dnc_rank"), "srg": summary.get("srg_rank")}
        for row, summary in zip(rows, summaries, strict=True)
        if row["rank"] is not None
    ]


@figure(lambda report: {"ranks": "Rank of the class means, layer by layer"} if _ranks(report) else {})
def ranks(report: Report, _: str) -> alt.TopLevelMixin:
    """The rank by depth, with those of deep neural collapse and, for K = r(r − 1)/2, of the strongly regular graph."""
    rows = _ranks(report)
    number = len(rows)
    lines = {
        f"{name}: {words.number(rows[-1][column])}": float(rows[-1][column])
        for column, name in (("dnc", "deep neural collapse"), ("srg", "strongly regular graph"))
        if rows[-1][column] is not None and float(rows[-1][column]).is_integer()
    }
    shown = Range.around([*(row["rank"] for row in rows), *lines.values()], zero=True)
    title = "rank of the class means"
    # A number where it is not what it was in the layer before; so many can be read.
    changes = [row["rank"] != before.get("rank") for row, before in zip(rows, [{}, *rows], strict=False)]
    chart = alt.Chart(table([{**row, "change": change} for row, change in zip(rows, changes, strict=True)]))
    width = layer_width(number)
    place = {"x": layer_axis([row["layer"] for row in rows], width=width), "y": vertical("rank", title, shown)}
    line = chart.mark_line(color=BLUE, strokeWidth=1.5, interpolate="step").encode(**place)
    points = chart.mark_point(color=BLUE, filled=True, size=60, opacity=1).encode(**place)
    values = chart.transform_filter("datum.change").mark_text(dy=-11, fontSize=11)
    labelled = [values.encode(**place, text=alt.Text("rank:Q", format="~g"))] if sum(changes) <= 40 else []
    across = labelled_lines(lines, shown, height=HEIGHT, title=title)
    return alt.layer(across, line, points, *labelled).properties(width=width, height=HEIGHT)
