"""A figure of the paper, done again: its panels, from what the report says is drawn how."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import log2
from typing import Any, Final

import altair as alt

from figures.axes import Layered, Range, Row, labelled_lines, table, vertical
from figures.heatmap import heatmap
from figures.registry import Report, figure
from figures.spectra import SIGMA
from figures.style import BLUE, LINES, ORDERED, PALETTE, wrap
from figures.training import HEIGHT, PARTS, PARTS_DASHES

Panel = Mapping[str, Any]
WIDTH: Final = 440
KNOWN: Final = {**PARTS, **SIGMA}
"""Series that have a colour of their own in all figures."""
SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
COLUMNS: Final = ("x", "y", "low", "high", "color", "facet")


def figure_name(name: str) -> str:
    """What the paper calls it.

    >>> figure_name("fig2-top")
    'Figure 2, top'
    """
    return name.replace("fig", "Figure ").replace("-", ", ")


def _panels(report: Report) -> dict[str, Panel]:
    panels = (report.get("reproduction") or {"panels": ()})["panels"]
    return {f"panel-{panel['name']}": panel for panel in panels if panel["rows"]}


@figure(
    lambda report: (
        {"figure": f"{figure_name(report['reproduction']['figure'])}, done again"} if len(_panels(report)) > 1 else {}
    )
)
def whole(report: Report, _: str) -> alt.TopLevelMixin:
    """All panels."""
    charts: list[Layered] = [
        panel_chart(panel).properties(
            title=alt.TitleParams(text=wrap(panel["title"], 52), fontSize=12, anchor="start", frame="group", offset=8)
        )
        for panel in _panels(report).values()
    ]
    columns = 2 if len(charts) <= 4 else 3 if len(charts) <= 9 else 5
    rows = [
        alt.hconcat(*charts[at : at + columns], spacing=36).resolve_scale(color="independent", strokeDash="independent")
        for at in range(0, len(charts), columns)
    ]
    together: alt.VConcatChart = alt.vconcat(*rows, spacing=36)
    together.resolve = alt.Resolve(scale=alt.ScaleResolveMap(color="independent", strokeDash="independent"))
    return together


@figure(lambda report: {name: panel["title"] for name, panel in _panels(report).items()})
def one_panel(report: Report, name: str) -> alt.TopLevelMixin:
    """One panel."""
    return panel_chart(_panels(report)[name])


def panel_chart(panel: Panel) -> Layered:
    """A panel as its `encoding` says: mark (line, points, rect), and columns as x, y, low, high, color, facet."""
    encoding = panel["encoding"]
    rows = [{column: row.get(encoding[column]) for column in COLUMNS if column in encoding} for row in panel["rows"]]
    if encoding["mark"] == "rect":
        return heatmap(
            [{"column": row["x"], "row": row["y"], "value": row["color"]} for row in rows],
            x_title=encoding["x_title"],
            y_title=encoding["y_title"],
            value_title=encoding["color_title"],
            ascending=True,
        )
    return _curves(panel, rows)


def _curves(panel: Panel, rows: Sequence[Row]) -> Layered:
    encoding = panel["encoding"]
    lines = panel["reference_lines"]
    kind = encoding.get("y_scale")
    spread = ("y", "low", "high") if encoding["mark"] == "points" else ("y",)  # a band may leave the frame
    values = [row.get(column) for column in spread for row in rows]
    shown = Range.around([*values, *lines.values()], log=kind == "log", zero=kind == "zero")
    facet = "facet" in encoding
    height = 150 if facet else HEIGHT
    title = encoding["y_title"]
    # Rows of their own for a layered chart; one set of rows for all panels of a facet.
    chart = alt.Chart() if facet else alt.Chart(table(rows))
    place: dict[str, Any] = {"x": _horizontal(encoding, rows)}
    place["color"] = _colours(encoding, rows) if "color" in encoding else alt.value(BLUE)
    layers: list[Any] = []
    if "low" in encoding:
        band = chart.mark_area(opacity=0.18) if encoding["mark"] == "line" else chart.mark_rule(strokeWidth=1.5)
        layers.append(band.encode(**place, y=vertical("low", title, shown), y2=alt.Y2("high:Q")))
    place["y"] = vertical("y", title, shown)
    layers.append(chart.mark_line(strokeWidth=2).encode(**place, **_dashes(rows)))
    if encoding["mark"] == "points":
        layers.append(chart.mark_point(filled=True, size=50, opacity=1).encode(**place))
    across = [labelled_lines(lines, shown, height=height, title=title)] if lines and not facet else []
    layered = alt.layer(*across, *layers).properties(width=150 if facet else WIDTH, height=height)
    if not facet:
        return layered
    count = len({row["facet"] for row in rows})
    return layered.facet(alt.Facet("facet:N", title=None, sort=None), data=table(rows), columns=min(5, count))


def _dashes(rows: Sequence[Row]) -> dict[str, Any]:
    """The loss lies on the regularization where the fit is small: dashed, it shows what is below."""
    series = {row.get("color") for row in rows}
    if not series <= set(PARTS):
        return {}
    scale = alt.Scale(domain=list(PARTS_DASHES), range=list(PARTS_DASHES.values()))
    return {"strokeDash": alt.StrokeDash("color:N", legend=None, scale=scale)}


def _horizontal(encoding: Mapping[str, str], rows: Sequence[Row]) -> alt.X:
    values = [row["x"] for row in rows]
    kind = encoding.get("x_scale", "linear")
    if kind == "linear":
        domain = [min(values), max(values)]
        return alt.X(
            "x:Q",
            title=encoding["x_title"],
            scale=alt.Scale(domain=domain, nice=False, padding=8),
            axis=alt.Axis(labelExpr=f"format(datum.value, '{'~s' if domain[1] >= 1000 else '.6~g'}')", tickCount=6),
        )
    shown = Range.around(values, log=True)
    scale = alt.Scale(type="log", base=2 if kind == "log2" else 10, domain=[shown.low, shown.high], nice=False)
    return alt.X("x:Q", title=encoding["x_title"], scale=scale, axis=_ticks(sorted(set(values)), powers=kind == "log2"))


def _ticks(values: Sequence[float], *, powers: bool) -> alt.Axis:
    """A tick where there is something: few values, evenly spaced on this axis. powers: only those of two, if any."""
    powers_of_two = {round(log2(value)): value for value in values if powers and log2(value).is_integer()}
    if powers_of_two:
        written = {str(power): f"2{str(power).translate(SUPERSCRIPTS)}" for power in powers_of_two}
        return alt.Axis(
            values=list(powers_of_two.values()),
            labelExpr=f"({json.dumps(written, ensure_ascii=False)})[round(log(datum.value) / LN2)]",
        )
    return alt.Axis(values=list(values), labelExpr="format(datum.value, '.3~r')", labelOverlap=True)


def _colours(encoding: Mapping[str, str], rows: Sequence[Row]) -> alt.Color:
    series = list(dict.fromkeys(row["color"] for row in rows))
    if set(series) <= set(KNOWN):
        colours: list[str] | str = [KNOWN[name] for name in series]
    elif encoding.get("order") == "depth":
        colours = ORDERED
    else:
        colours = [PALETTE[index % len(PALETTE)] for index in range(len(series))]
    return alt.Color(
        "color:N",
        title=encoding.get("color_title"),
        sort=None,
        scale=alt.Scale(domain=series, range=colours),
        legend=alt.Legend(orient="top", columns=5, **LINES),
    )
