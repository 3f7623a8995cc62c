"""Find the best solution of a model: from a command to a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from analysis.dufm.artifacts import SOLUTION, to_safetensors
from analysis.dufm.exact import Settled, settle
from analysis.dufm.layers import dufm_report
from analysis.dufm.model import Variables, losses
from analysis.dufm.neighbours import neighbours
from analysis.dufm.problem import Problem
from analysis.dufm.reference_starts import reference_starts
from analysis.dufm.references import references
from analysis.dufm.report import Optimum, References
from analysis.dufm.rescaling import expand
from analysis.dufm.search.neurons import resize
from analysis.dufm.search.objective import Objective
from analysis.dufm.search.search import Effort, Found, search
from analysis.dufm.search.starts import Start
from analysis.dufm.search.stationarity import check_stationarity
from analysis.dufm.structure import classify, ranks
from analysis.report import Report

if TYPE_CHECKING:
    from analysis.commands import FindDufmOptimum, Surroundings

PATIENCE: Final = 8
POLISHING: Final = 0.2
"""Share of the budget that is kept for the last digits."""
IMPROVED: Final = 1e-6


def find_optimum(command: FindDufmOptimum, surroundings: Surroundings) -> Report:
    """Search the reduced problem, and take the best solution back to the problem's own decays and samples.

    Lets through what `surroundings.progress` raises.
    """
    started, effort = time.perf_counter(), _effort(command)
    problem = command.model
    tick = _tick(command, surroundings)
    starts = [*reference_starts(problem.reduced, tick=tick), *_that_fit(neighbours(problem.reduced), problem)]
    known = references(problem, with_families=True)
    found = search(
        problem.reduced,
        restarts=command.restarts,
        seed=command.seed,
        starts=starts,
        effort=effort,
        device=surroundings.device,
        tick=tick,
    )
    settled = settle(found, starts)
    widths = settled.problem.widths if command.width is None else problem.widths
    resized = resize(settled.variables, widths)
    assert resized is not None, "the search keeps within the widths"
    problem = problem.with_widths(widths)
    variables = expand(problem, resized)
    optimum = _optimum(problem, variables, settled, found, known)
    metadata = {"problem": json.dumps(asdict(problem)), "loss": repr(optimum.loss)}
    surroundings.keep_artifact(SOLUTION, to_safetensors(variables, metadata))
    return dufm_report(
        command,
        surroundings,
        problem,
        variables,
        seed=command.seed,
        started=started,
        timings={
            "search_seconds": found.history[-1][0],
            "best_seconds": next(seconds for seconds, loss in found.history if loss <= found.loss * (1 + 1e-4)),
        },
        artifacts=(SOLUTION,),
        optimum=optimum,
    )


def _that_fit(starts: Sequence[Start], problem: Problem) -> list[Start]:
    """Those that need no more neurons than there are: the catalogue's solutions are of any widths."""
    return [start for start in starts if resize(start.variables, problem.widths) is not None]


def _effort(command: FindDufmOptimum) -> Effort:
    budget = command.budget_seconds
    if budget is None:
        return Effort(patience=PATIENCE, deadline=None)
    now = time.monotonic()
    return Effort(patience=PATIENCE, deadline=now + (1 - POLISHING) * budget, end=now + budget)


def _tick(command: FindDufmOptimum, surroundings: Surroundings) -> Callable[[], None]:
    """Progress is time, where there is a budget: in tenths of a second."""
    began, budget = time.monotonic(), command.budget_seconds
    total = round(10 * budget) if budget else 1

    def tick() -> None:
        current = min(total, round(10 * (time.monotonic() - began))) if budget else 0
        surroundings.progress(phase="searching", current=current, total=total)

    return tick


def _optimum(problem: Problem, variables: Variables, settled: Settled, found: Found, known: References) -> Optimum:
    parts = losses(problem, variables)
    loss = float(parts.loss)
    objective = Objective(settled.problem)
    assert known.lower_bound is not None, "squared error has one"
    return Optimum(
        loss=loss,
        fit=float(parts.fit),
        regularization=float(parts.regularization),
        source=settled.source,
        start=settled.start,
        structure=classify(problem, variables),
        ranks=dict(ranks(problem, variables)),
        references=known,
        gap=max(0.0, loss - known.lower_bound),  # where the two are equal, rounding may make it −1e-17
        restarts=found.restarts,
        reached_by=found.reached_by,
        stationarity=check_stationarity(objective, objective.flatten(settled.variables)),
        improves_best_known=known.best_known is not None and loss < known.best_known * (1 - IMPROVED),
        hops=found.hops,
        stopped_by=found.stopped_by,
    )
