"""A matrix as coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import altair as alt

from figures.axes import Layered, Row, table
from figures.style import DIVERGING, SEQUENTIAL, wrap

LARGEST_WITH_NUMBERS: Final = 16
LONGEST_SIDE: Final = 520


def heatmap(
    rows: Sequence[Row],
    *,
    x_title: str,
    y_title: str,
    value_title: str,
    square: bool = False,
    sort: Literal["ascending"] | None = None,
    centre: float | None = None,
    values: Sequence[float | None] | None = None,
) -> Layered:
    """Cells from the columns `column`, `row` and `value`, with their numbers where there are few.

    square: cells as high as wide. sort: None keeps the order in which columns and rows first come. centre: the value of
    the neutral colour, where values lie on both sides of it; 0 if there are negative ones. values: those that the
    colours cover, where several maps share them. Cells without a value stay empty, with a dash.
    """
    columns, lines = (len({row[side] for row in rows}) for side in ("column", "row"))
    width, height = _side(columns), _side(lines)
    if square:
        width = height = max(width, height)
    marked = [{**row, "label": _label(row["value"])} for row in rows]
    there = [value for value in values or [row["value"] for row in rows] if value is not None]
    chart = alt.Chart(table(marked))
    place = {
        "x": alt.X("column:O", title=x_title, sort=sort, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        "y": alt.Y("row:O", title=y_title, sort=sort, axis=alt.Axis(labelOverlap=True)),
    }
    scale, light = _colours(there, centre)
    colour = alt.Color("value:Q", title=wrap(value_title, 24), scale=scale, legend=alt.Legend(format="~g"))
    layers: list[Any] = [chart.mark_rect().encode(**place, color=colour)]
    if max(columns, lines) <= LARGEST_WITH_NUMBERS:
        ink = alt.condition(light, alt.value("#111111"), alt.value("#ffffff"))
        layers.append(chart.mark_text(fontSize=10).encode(**place, text="label:N", color=ink))
    return alt.layer(*layers).properties(width=width, height=height)


def _label(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _side(cells: int) -> int:
    return min(LONGEST_SIDE, max(120, 46 * cells))


def _colours(values: Sequence[float], centre: float | None) -> tuple[alt.Scale, str]:
    """The scale, and an expression that is true where its colours are light."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    middle = 0.0 if centre is None and low < 0 < high else centre
    if middle is not None and low < middle < high:
        reach = max(high - middle, middle - low)
        light = f"datum.value === null || abs(datum.value - {middle!r}) < {0.62 * reach!r}"
        return alt.Scale(scheme=DIVERGING, domain=[middle - reach, middle + reach]), light
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    light = f"datum.value === null || datum.value > {low + 0.6 * (high - low)!r}"
    return alt.Scale(scheme=SEQUENTIAL, domain=[low, high]), light
