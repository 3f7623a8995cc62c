"""Starts of the search that are known without one: zero, deep neural collapse, and the families with symmetries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from analysis.dufm.problem import Problem
from analysis.dufm.references import dnc, srg, zero
from analysis.dufm.search.search import Start
from analysis.dufm.solution import Solution, UndefinedReference

REFERENCES: Final[tuple[Callable[[Problem], Solution], ...]] = (zero, dnc, srg)


def reference_starts(problem: Problem) -> list[Start]:
    """What there is of them for this reduced problem, at as many neurons as they use, each under its name."""
    starts = []
    for reference in REFERENCES:
        try:
            solution = reference(problem)
        except UndefinedReference:
            continue
        starts.append(Start(solution.name, solution.build()))
    return starts
