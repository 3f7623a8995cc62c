"""What a search that ends at a known solution has found: that solution, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.search.neurons import living_widths, resize
from analysis.dufm.search.objective import loss_at
from analysis.dufm.search.search import Found
from analysis.dufm.search.starts import Start

SAME: Final = 1e-7
"""A search that ends within this of a reference, relative, has found it."""

Source = Literal["zero", "dnc", "srg", "search"]
REFERENCES: Final[tuple[Source, ...]] = ("zero", "dnc", "srg")


@dataclass(frozen=True)
class Settled:
    """Of the reduced problem, without dead neurons."""

    source: Source
    start: str
    problem: Problem
    variables: Variables


def settle(found: Found, starts: Sequence[Start]) -> Settled:
    """What the search found; or the reference among its starts that it found again, or could not better."""
    for source in REFERENCES:
        for start in starts:
            if start.name == source and loss_at(found.problem, start.variables) <= found.loss * (1 + SAME):
                return _settled(found.problem, source, source, start.variables)
    return _settled(found.problem, "search", found.start, found.variables)


def _settled(problem: Problem, source: Source, start: str, variables: Variables) -> Settled:
    widths = living_widths(variables)
    trimmed = resize(variables, widths)
    assert trimmed is not None, "as many neurons as live"
    return Settled(source, start, problem.with_widths(widths), trimmed)
