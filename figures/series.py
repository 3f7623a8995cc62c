"""A run: one metric over the steps, a line for each layer, and how another run compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from figures import words
from figures.axes import Layered, Range, Row, labelled_lines, table, vertical
from figures.style import GRADIENT, LINES, ORDERED, finish
from figures.training import MOST_NAMED_LINES, MOST_POINTS, STEP_LABEL

WIDTH, HEIGHT = 620, 340
LEAST_STEPS: Final = 50
"""That are drawn of a run, however many layers it has."""
MOST_MARKED: Final = 600
"""Points with a mark of their own."""
NAMED_ON_A_GRADIENT: Final = 7
ASIDE: Final = 56
"""How far from the frame the legend is, so that the name of a line across stands between."""
DASHES: Final = ([1, 0], [6, 4])
"""Of the run, and of the one that it is compared with."""


def steps_to_draw(num_steps: Mapping[str, int], *, layers: int) -> dict[str, list[int]]:
    """Which of a run's steps to draw, run by run: the first, the last, and evenly between as many as lines can have.

    >>> steps_to_draw({"a": 3}, layers=200)
    {'a': [0, 1, 2]}
    >>> len(steps_to_draw({"a": 1000}, layers=200)["a"])
    50
    """
    most = max(LEAST_STEPS, MOST_POINTS // max(1, layers * len(num_steps)))
    return {
        run: list(range(number))
        if number <= most
        else sorted({round(index * (number - 1) / (most - 1)) for index in range(most)})
        for run, number in num_steps.items()
    }


def metric_by_step(
    rows: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], *, num_steps: int | None = None, dark: bool = False
) -> dict[str, Any]:
    """The specification of one metric over the steps of a run.

    rows: of a series, of one metric; the rows of a second run, if there are any, are dashed. entry: the metric's, of
    the catalogue. num_steps: of the run, where not all of them are drawn, which the figure then says.

    Raises ValueError where no row has a step and a value.
    """
    there = [row for row in rows if row["step"] is not None]
    if all(row["value"] is None for row in there):
        raise ValueError("no step has a value to draw")
    layers = _positions(there)
    runs = list(dict.fromkeys(row["run"] for row in there))
    labels = dict(zip(layers, words.labels(layers), strict=True))
    names = dict(zip(runs, words.labels(runs), strict=True))
    points = [
        {
            "run": names[row["run"]],
            "layer": labels[row["layer"]],
            "position": layers[row["layer"]],
            "step": row["step"],
            "value": row["value"],
        }
        for row in there
    ]
    chart = _lines(points, list(labels.values()), entry, x_title=_of_steps(points, num_steps))
    return finish(chart, title=f"{entry['title']}, step by step", dark=dark)


def _positions(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Layer → its place from 1, those of the first run first, by their index there."""
    index: dict[str, tuple[int, int]] = {}
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for row in rows:
        index.setdefault(row["layer"], (runs.index(row["run"]), row["layer_index"]))
    return {layer: place for place, layer in enumerate(sorted(index, key=lambda layer: (index[layer], layer)), 1)}


def _of_steps(points: Sequence[Row], num_steps: int | None) -> str:
    drawn = max(len({row["step"] for row in points if row["run"] == run}) for run in {row["run"] for row in points})
    return "step" if num_steps is None or drawn >= num_steps else f"step ({drawn} of {num_steps} are drawn)"


def _lines(points: Sequence[Row], layers: Sequence[str], entry: Mapping[str, Any], *, x_title: str) -> Layered:
    ideal = entry["ideal"] if isinstance(entry["ideal"], int | float) else None
    shown = Range.around([*(row["value"] for row in points), ideal], log=entry["scale"] == "log")
    title, lines = entry["name"].replace("_", " "), {}
    if ideal is not None and shown.low <= ideal <= shown.high:
        lines = {f"ideal {words.number(ideal)}": float(ideal)}
    elif entry["ideal"] is not None:  # no line can be at it
        title += f" (ideal: {entry['ideal'] if ideal is None else words.number(ideal)})"
    chart = alt.Chart(table(points))
    steps = [row["step"] for row in points]
    each: dict[str, Any] = {
        "x": alt.X(
            "step:Q",
            title=x_title,
            scale=alt.Scale(domain=[min(steps), max(steps)], nice=False, padding=8),
            axis=alt.Axis(labelExpr=STEP_LABEL, tickCount=8, tickMinStep=1),
        ),
        "y": vertical("value", title, shown),
        "color": _colours(layers, offset=ASIDE if lines else 18),
    }
    runs = list(dict.fromkeys(row["run"] for row in points))
    dashes: dict[str, Any] = {"detail": ["layer:N", "run:N"]}
    if len(runs) > 1:
        dashes["strokeDash"] = alt.StrokeDash(
            "run:N",
            title="run",
            sort=None,
            scale=alt.Scale(domain=runs, range=list(DASHES)),
            legend=alt.Legend(symbolType="stroke", symbolSize=700),
        )
    marks: list[Any] = [chart.mark_line(strokeWidth=1.8).encode(**each, **dashes)]
    if len(points) <= MOST_MARKED:  # a single step has no line
        marks.append(chart.mark_point(filled=True, size=28, opacity=1).encode(**each))
    across = [labelled_lines(lines, shown, height=HEIGHT, title=title)] if lines else []
    return alt.layer(*across, *marks).properties(width=WIDTH, height=HEIGHT)


def _colours(layers: Sequence[str], *, offset: int) -> alt.Color:
    """Colours in the order of the layers; where there are too many to name, some of them stand beside the scale."""
    if len(layers) <= MOST_NAMED_LINES:
        scale = alt.Scale(domain=list(layers), range=ORDERED)
        return alt.Color("layer:N", title="layer", sort=None, scale=scale, legend=alt.Legend(**LINES, offset=offset))
    named = NAMED_ON_A_GRADIENT - 1
    values = sorted({round(1 + index * (len(layers) - 1) / named) for index in range(named + 1)})
    # A JSON string is a string of Vega's expressions, too.
    text = "".join(f"datum.value === {place} ? {json.dumps(f'{place}: {layers[place - 1]}')} : " for place in values)
    return alt.Color(
        "position:Q",
        title="layer, by position",
        scale=alt.Scale(domain=[1, len(layers)], range=GRADIENT),
        legend=alt.Legend(values=values, labelExpr=f"{text}''", gradientLength=HEIGHT - 60, offset=offset),
    )
