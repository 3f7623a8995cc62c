"""A matrix as coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from figures.axes import Layered, Row, are_equal, table
from figures.style import DIVERGING, SEQUENTIAL, wrap

LARGEST_WITH_NUMBERS: Final = 16
NEARLY_ZERO: Final = 0.01
"""Share of the largest value below which a number would say nothing but its many digits."""
LONGEST_SIDE: Final = 520
LEGEND_LABEL: Final = "format(datum.value, '.3~g')"
"""How a value is written beside its colour, as Vega's expression."""


def heatmap(
    rows: Sequence[Row],
    *,
    x_title: str,
    y_title: str,
    value_title: str,
    square: bool = False,
    ascending: bool = False,
    centre: float | None = None,
    values: Sequence[float | None] | None = None,
    domain: tuple[float, float] | None = None,
    order: Sequence[str] | None = None,
) -> Layered:
    """Cells from the columns `column`, `row` and `value`, with their numbers where there are few.

    square: cells as high as wide. ascending: columns and rows by value, not as they first come. centre: the value of
    the neutral colour, where values lie on both sides of it; 0 if there are negative ones. values: those that the
    colours cover, where several maps share them. domain: the least and the greatest value that there can be. order:
    that of the columns and rows. Cells without a value stay empty, with a dash.
    """
    columns, lines = (list(dict.fromkeys(row[side] for row in rows)) for side in ("column", "row"))
    if order is not None:
        columns = lines = list(order)
    elif ascending:
        columns, lines = sorted(columns), sorted(lines)
    width, height = _side(len(columns)), _side(len(lines))
    if square:
        width = height = max(width, height)
    largest = max((abs(row["value"]) for row in rows if row["value"] is not None), default=0.0)
    marked = [{**row, "label": _label(row["value"], largest)} for row in rows]
    there = [value for value in domain or values or [row["value"] for row in rows] if value is not None]
    chart = alt.Chart(table(marked))
    place = {
        "x": alt.X(
            "column:O", title=x_title, scale=alt.Scale(domain=columns), axis=alt.Axis(labelAngle=0, labelOverlap=True)
        ),
        "y": alt.Y("row:O", title=y_title, scale=alt.Scale(domain=lines), axis=alt.Axis(labelOverlap=True)),
    }
    scale, is_light = _colours(there, centre)
    colour = alt.Color("value:Q", title=wrap(value_title, 24), scale=scale, legend=alt.Legend(labelExpr=LEGEND_LABEL))
    layers: list[Any] = [chart.mark_rect().encode(**place, color=colour)]
    if max(len(columns), len(lines)) <= LARGEST_WITH_NUMBERS:
        has_colour = "datum.value !== null"  # without one the ground is seen
        ink = alt.when(f"{has_colour} && {is_light}").then(alt.value("#111111"))
        ink = ink.when(has_colour).then(alt.value("#ffffff"))
        layers.append(chart.mark_text(fontSize=10).encode(**place, text="label:N", color=ink))
    return alt.layer(*layers).properties(width=width, height=height)


def _label(value: float | None, largest: float) -> str:
    if value is None:
        return "–"
    return "≈0" if 0 < abs(value) < NEARLY_ZERO * largest else f"{value:.3g}"


def _side(cells: int) -> int:
    of_a_cell = 46 if cells <= 10 else 32 if cells <= LARGEST_WITH_NUMBERS else 14
    return min(LONGEST_SIDE, max(120, of_a_cell * cells))


def _colours(values: Sequence[float], centre: float | None) -> tuple[alt.Scale, str]:
    """The scale, and an expression that is true where black is read better than white on its colours."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    middle = 0.0 if centre is None and low < 0 < high else centre
    if middle is not None and low < middle < high and not are_equal(low, high):
        reach = max(high - middle, middle - low)
        is_light = f"abs(datum.value - {middle!r}) < {0.8 * reach!r}"
        return alt.Scale(range=DIVERGING, domain=[middle - reach, middle + reach], clamp=True), is_light
    if 0 < low < 0.5 * high:
        low = 0.0
    if are_equal(low, high):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    is_light = f"datum.value > {low + 0.31 * (high - low)!r}"
    return alt.Scale(range=SEQUENTIAL, domain=[low, high], clamp=True), is_light
