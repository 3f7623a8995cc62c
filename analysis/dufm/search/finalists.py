"""The best ends of a search, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.search.annealing import FINE, anneal
from analysis.dufm.search.neurons import living_widths, merge_parallel, resize
from analysis.dufm.search.newton import polish
from analysis.dufm.search.objective import Objective, Tick, loss_at, objective_of
from analysis.dufm.search.pool import Pool
from analysis.dufm.search.starts import Start

FINALISTS: Final = 3
CLOSE: Final = 1e-4
"""Finalists within this of the best, relative, are polished."""
MERGED: Final = 1e-4
"""Merging neurons may raise the loss by this, relative, before the polish."""

End = tuple[float, Start]
"""A loss, and the solution that has it."""


@dataclass(frozen=True)
class Finalists:
    """Takes the best of a pool, in float64 and without dead neurons, to a stationary point."""

    problem: Problem
    objective: Objective
    """that the pool's solutions are of"""
    tick: Tick
    tick_until_end: Tick
    """while they are polished"""

    def best(self, pool: Pool, *, wide: Sequence[End], given: Sequence[End]) -> tuple[str, Tensor, Objective]:
        """The best of the pool's, of those too wide for it, and of those that were handed in, as they were."""
        flats, losses = anneal(self.objective, pool.flats[:FINALISTS].double().cpu(), FINE, tick=self.tick)
        ends = [
            (loss, Start(name, self.objective.variables(flat[None])))
            for flat, loss, name in zip(flats, losses.tolist(), pool.names, strict=False)
        ]
        ends = sorted([*ends, *wide], key=loss_of)[:FINALISTS]
        polished = [self._polished(start) for loss, start in ends if loss <= ends[0][0] * (1 + CLOSE)]
        loss, name, flat, objective = min(polished, key=lambda end: end[0])
        if given and min(given, key=loss_of)[0] < loss:  # time ran out before its digits were there again
            start = min(given, key=loss_of)[1]
            variables = _trimmed(start.variables)
            objective = objective_of(self.problem, variables)
            return start.name, objective.flatten(variables).double(), objective
        return name, flat, objective

    def _polished(self, start: Start) -> tuple[float, str, Tensor, Objective]:
        variables = _trimmed(start.variables)
        merged = _trimmed(merge_parallel(variables))
        if loss_at(self.problem, merged) <= loss_at(self.problem, variables) * (1 + MERGED):
            variables = merged
        objective = objective_of(self.problem, variables)
        flat = polish(objective, objective.flatten(variables).double(), tick=self.tick_until_end)
        return float(objective.value_and_gradient(flat, smoothing=0)[0]), start.name, flat, objective


def loss_of(end: End) -> float:
    """The first of the pair."""
    return end[0]


def _trimmed(variables: Variables) -> Variables:
    trimmed = resize(variables, living_widths(variables))
    assert trimmed is not None, "as many neurons as live"
    return trimmed
