"""The registry: one decorated function draws one figure, or one of a kind for each layer, metric or panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import altair as alt

from figures.style import finish

Report = Mapping[str, Any]
Titles = Callable[[Report], Mapping[str, str]]
Draw = Callable[[Report, str], alt.TopLevelMixin]


class FigureEntry(NamedTuple):
    """A figure that a report has."""

    name: str
    title: str


class UnknownFigure(KeyError):
    """The report has no figure of this name."""


@dataclass(frozen=True)
class Figure:
    """Which figures of a kind a report has, name → title, and how one of them is drawn."""

    titles: Titles
    draw: Draw


FIGURES: list[Figure] = []
MENU: Final = ("reproduction", "optimum", "training", "sweep", "layers", "spectra", "single_metrics")
"""The modules with figures, in the order in which theirs are listed: what the report is about comes first."""


def figure(titles: Titles) -> Callable[[Draw], Draw]:
    """Register a function as a figure; it is called with the report and one of the names of `titles`."""

    def register(draw: Draw) -> Draw:
        FIGURES.append(Figure(titles, draw))
        return draw

    return register


def names(report: Report) -> tuple[FigureEntry, ...]:
    """Name and title of every figure that this report has."""
    ordered = sorted(FIGURES, key=lambda known: MENU.index(known.draw.__module__.removeprefix("figures.")))
    return tuple(FigureEntry(name, title) for known in ordered for name, title in known.titles(report).items())


def specification(report: Report, name: str, *, dark: bool = False) -> dict[str, Any]:
    """The Vega-Lite specification of one figure, with its numbers in it; the same for the same report.

    dark: light lines on a dark ground, for screens.

    Raises UnknownFigure where the report has no figure of this name.
    """
    for known in FIGURES:
        titles = known.titles(report)
        if name in titles:
            return finish(known.draw(report, name), title=titles[name], dark=dark)
    raise UnknownFigure(name)
