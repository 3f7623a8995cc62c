"""A sweep: what came out, over the grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from figures import words
from figures.axes import Range, Row, labelled_lines, table, vertical
from figures.heatmap import heatmap
from figures.registry import Report, figure
from figures.style import BLUE, wrap

MOST_FACETS: Final = 36
"""Panels of a figure: of what a third and fourth parameter make more, the first are drawn, and the figure says so."""
COLUMNS: Final = 4
SHOWN: Final = {
    "loss_over_dnc": "least loss over the loss of deep neural collapse",
    "rank_mean": "rank of the last hidden layer before σ, mean of the runs",
    "dnc_share": "share of the runs that end in deep neural collapse",
    "loss": "least loss",
}
"""Field of a cell → what it is."""
EVEN: Final = {"loss_over_dnc": 1.0}
"""Where neither side is better."""
DOMAINS: Final = {"dnc_share": (0.0, 1.0)}
FROM_ZERO: Final = {"rank_mean", "dnc_share"}
"""What has a zero that means something."""


def _shown(report: Report) -> dict[str, str]:
    cells = (report.get("sweep") or {"cells": ()})["cells"]
    return {
        f"sweep-{field.replace('_', '-')}": f"{title[0].upper()}{title[1:]}"
        for field, title in SHOWN.items()
        if any(cell[field] is not None for cell in cells)
    }


@figure(_shown)
def over_the_grid(report: Report, name: str) -> alt.TopLevelMixin:
    """One number of the cells: a line over one parameter, a heat map over two, several over three or four."""
    field = name.removeprefix("sweep-").replace("-", "_")
    sweep = report["sweep"]
    parameters = list(sweep["grid"])
    if len(parameters) == 1:
        return _line(sweep, parameters[0], field)
    rows = [_row(cell, parameters, field) for cell in sweep["cells"]]
    everything = [row["value"] for row in rows]
    facets = list(dict.fromkeys(row["facet"] for row in rows))
    charts = [
        heatmap(
            [row for row in rows if row["facet"] == facet],
            x_title=_name(parameters[0]),
            y_title=_name(parameters[1]),
            value_title=SHOWN[field],
            centre=EVEN.get(field),
            values=everything,
            domain=DOMAINS.get(field),
        ).properties(title=alt.TitleParams(text=wrap(facet, 30), fontSize=11, anchor="start", frame="group"))
        for facet in facets[:MOST_FACETS]
    ]
    if len(facets) > MOST_FACETS:
        charts[-1].title.subtitle = f"and {len(facets) - MOST_FACETS} more panels, which are not drawn"
    lines = [alt.hconcat(*charts[at : at + COLUMNS], spacing=24) for at in range(0, len(charts), COLUMNS)]
    return charts[0] if len(facets) == 1 else alt.vconcat(*lines, spacing=24)


def _row(cell: Mapping[str, Any], parameters: list[str], field: str) -> Row:
    values = cell["values"]
    return {
        "column": value_label(values[parameters[0]]),
        "row": value_label(values[parameters[1]]),
        "facet": ", ".join(f"{_name(other)} = {value_label(values[other])}" for other in parameters[2:]),
        "value": cell[field],
    }


def _line(sweep: Mapping[str, Any], parameter: str, field: str) -> alt.TopLevelMixin:
    """Over one parameter; by order where its values are no numbers."""
    rows: list[Row] = [
        {"x": cell["values"][parameter], "label": value_label(cell["values"][parameter]), "value": cell[field]}
        for cell in sweep["cells"]
    ]
    numeric = all(isinstance(row["x"], int | float) and not isinstance(row["x"], bool) for row in rows)
    lines = {"as deep neural collapse": 1.0} if field in EVEN else {}
    ends = DOMAINS.get(field, ())
    shown = Range.around([*(row["value"] for row in rows), *lines.values(), *ends], zero=field in FROM_ZERO)
    if not numeric:
        rows = [{**row, "x": None} for row in rows]
    x = _numbers(rows, parameter) if numeric else _names(rows, parameter)
    chart = alt.Chart(table(rows))
    y = vertical("value", SHOWN[field], shown)
    line = chart.mark_line(color=BLUE, strokeWidth=2).encode(x=x, y=y)
    points = chart.mark_point(color=BLUE, filled=True, size=60, opacity=1).encode(x=x, y=y)
    across = labelled_lines(lines, shown, height=300, title=SHOWN[field])
    return alt.layer(across, *([line] if numeric else []), points).properties(width=460, height=300)


def _numbers(rows: list[Row], parameter: str) -> alt.X:
    values = [row["x"] for row in rows]
    spread = min(values) > 0 and max(values) / min(values) >= 8
    shown = Range.around(values, log=spread)
    return alt.X("x:Q", title=_name(parameter), scale=shown.scale, axis=shown.axis)


def _names(rows: list[Row], parameter: str) -> alt.X:
    labels = [row["label"] for row in rows]
    return alt.X("label:N", title=_name(parameter), axis=alt.Axis(labelAngle=-40), scale=alt.Scale(domain=labels))


def value_label(value: Any) -> str:
    """A parameter's value in few letters.

    >>> value_label(0.0040000000000001), value_label([30, 20]), value_label("adam")
    ('0.004', '[30, 20]', 'adam')
    """
    if isinstance(value, float):
        return words.number(value)
    return words.cut(value if isinstance(value, str) else json.dumps(value))


def _name(parameter: str) -> str:
    return words.cut(parameter.replace("num_", "number of ").replace("_", " "))
