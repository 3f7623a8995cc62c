"""The class means' singular values, and their Gram matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from figures import words
from figures.axes import LABEL, Range, Row, layer_width, table, vertical, whole_ticks
from figures.heatmap import heatmap
from figures.ordering import class_order
from figures.registry import Report, figure
from figures.style import BLUE, GREY, SEQUENTIAL, VERMILION

MOST_PANELS: Final = 12
"""Layers whose singular values are drawn as lines; more of them become a heat map."""
BEFORE, AFTER, PLAIN = "before σ", "after σ", "without σ"
SIGMA: Final = {BEFORE: VERMILION, AFTER: BLUE, PLAIN: GREY}
NUMBER: Final = "number, from the largest"
Layer = Mapping[str, Any]


def pairs(names: Sequence[str]) -> list[tuple[str, int, int | None]]:
    """Layers before and after their σ, by name: label, and the positions of both; None where there is no second.

    `H_2` and `relu(H_2)` belong together, and `head.1` and `head.1.relu`.

    >>> pairs(["H_1", "H_2", "relu(H_2)"])
    [('H_1', 0, None), ('H_2', 1, 2)]
    """
    position = {name: index for index, name in enumerate(names)}
    after = {
        before: index
        for name, index in position.items()
        for before in [_without_activation(name)]
        if before in position
    }
    return [
        (label, index, after.get(name))
        for label, (index, name) in zip(words.labels(names), enumerate(names), strict=True)
        if index not in after.values()
    ]


def _without_activation(name: str) -> str | None:
    found = re.fullmatch(r"relu\((.+)\)|(.+)\.relu", name, flags=re.DOTALL)
    return (found[1] or found[2]) if found else None


def spectrum_rows(spectra: Mapping[str, Sequence[float] | None]) -> list[Row]:
    """A row for each singular value of each layer: panel, series (before or after σ), index, value."""
    names = list(spectra)
    rows: list[Row] = []
    for order, (label, before, after) in enumerate(pairs(names), 1):
        series = ((before, BEFORE if after is not None else PLAIN), (after, AFTER))
        for position, name in series:
            values = spectra[names[position]] if position is not None else None
            rows += [
                {"panel": label, "order": order, "series": name, "index": index, "value": value}
                for index, value in enumerate(values or (), 1)
            ]
    return rows


def spectrum_lines(rows: Sequence[Row], *, title: str = "singular value") -> alt.FacetChart:
    """A panel for each layer, its values in descending order, before and after σ."""
    shown = Range.around((row["value"] for row in rows), log=True)
    numbers = alt.Axis(format="d", **whole_ticks(1, max(row["index"] for row in rows)))
    series = [name for name in SIGMA if any(row["series"] == name for row in rows)]
    place = {
        "x": alt.X("index:Q", title=NUMBER, scale=alt.Scale(nice=False, padding=8), axis=numbers),
        "y": vertical("value", title, shown),
        "color": alt.Color(
            "series:N",
            title=None,
            sort=None,
            scale=alt.Scale(domain=series, range=[SIGMA[name] for name in series]),
            legend=alt.Legend(orient="bottom"),
        ),
    }
    chart = alt.Chart()
    lines = alt.layer(
        chart.mark_line(strokeWidth=1.8).encode(**place),
        chart.mark_point(filled=True, size=32, opacity=1).encode(**place, shape=alt.Shape("series:N", legend=None)),
    ).properties(width=165, height=150)
    panel = alt.Facet("panel:N", title=None, sort=None)
    return lines.facet(panel, data=table(rows), columns=min(5, len({row["panel"] for row in rows})))


def _spectra(report: Report) -> dict[str, Sequence[float]]:
    return {
        layer["name"]: layer["spectra"]["class_means"]
        for layer in report["layers"]
        if layer["spectra"].get("class_means")
    }


@figure(lambda report: {"singular-values": "Singular values of the class means"} if _spectra(report) else {})
def singular_values(report: Report, _: str) -> alt.TopLevelMixin:
    """Of each layer, before and after σ where names tell which layers belong together."""
    spectra = _spectra(report)
    if len(pairs(list(spectra))) <= MOST_PANELS:
        return spectrum_lines(spectrum_rows(spectra))
    rows = [
        {"position": position, "index": index, "value": value}
        for position, values in enumerate(spectra.values(), 1)
        for index, value in enumerate(values, 1)
    ]
    shown = Range.around((row["value"] for row in rows), log=True)
    place = {
        "x": alt.X("position:O", title="layer, by position", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
        "y": alt.Y("index:O", title=NUMBER, axis=alt.Axis(labelOverlap=True)),
    }
    colour = alt.Color("value:Q", title="singular value", scale=_colours(shown), legend=alt.Legend(labelExpr=LABEL))
    cells: alt.Chart = alt.Chart(table(rows)).mark_rect().encode(**place, color=colour)
    return cells.properties(width=layer_width(len(spectra)), height=320)


def _colours(shown: Range) -> alt.Scale:
    return alt.Scale(
        type="log" if shown.log else "linear", domain=[shown.low, shown.high], range=SEQUENTIAL, clamp=True
    )


def _grams(report: Report) -> dict[str, tuple[str, Layer]]:
    """Figure's name → the layer's label and report."""
    labels = words.labels(layer["name"] for layer in report["layers"])
    return {
        f"gram-{number}": (label, layer)
        for number, (label, layer) in enumerate(zip(labels, report["layers"], strict=True), 1)
        if layer.get("class_mean_gram")
    }


@figure(
    lambda report: {
        name: f"Gram matrix of the class means, MᵀM, in {label}" for name, (label, _) in _grams(report).items()
    }
)
def gram(report: Report, name: str) -> alt.TopLevelMixin:
    """The inner products of one layer's class means."""
    _, layer = _grams(report)[name]
    matrix = layer["class_mean_gram"]
    names = list(report["class_counts"])
    if len(names) != len(matrix):
        names = [str(index) for index in range(len(matrix))]
    classes = words.labels(names)
    rows = [
        {"row": classes[i], "column": classes[j], "value": value}
        for i, line in enumerate(matrix)
        for j, value in enumerate(line)
    ]
    order = class_order(matrix, layer.get("structure"), names)
    title = "class" if order == sorted(order) else "class, near ones together"
    return heatmap(
        rows,
        x_title=title,
        y_title=title,
        value_title="inner product",
        square=True,
        order=[classes[index] for index in order],
    )
