"""Starts of the search that are known without one: zero, deep neural collapse, and solutions with symmetries."""

from __future__ import annotations

from collections.abc import Callable

from analysis.dufm.problem import Problem
from analysis.dufm.references import solutions
from analysis.dufm.search.starts import Start


def reference_starts(problem: Problem, *, tick: Callable[[], None] = lambda: None) -> list[Start]:
    """What there is of them for this reduced problem, at as many neurons as they use, each under its name."""
    return [Start(solution.name, solution.build()) for solution in solutions(problem, tick=tick)]
