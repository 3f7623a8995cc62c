"""The search for optima against SciPy's L-BFGS from many starts: the time to come within 0.1 % of the best known loss.

Ours is what `find_dufm_optimum` does, but without the catalogue: from the solutions with symmetries, whose computing
counts, and from random starts; and once more from random starts alone. Both minimise the same objective, on one
thread: K classes, n = 1, all decays 0.004. SciPy's runs start, in turn, from normal weights of the usual scale and
from the same random starts as ours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize

from analysis.dufm import catalogue
from analysis.dufm.problem import Problem
from analysis.dufm.reference_starts import reference_starts
from analysis.dufm.search.objective import Objective
from analysis.dufm.search.search import Effort, search
from analysis.dufm.search.starts import random_starts

CELLS = ((6, 3), (6, 5), (10, 4), (10, 5), (15, 4), (15, 7))
DECAY = 0.004
CLOSE = 1e-3
LONGEST_SECONDS = 60.0


def compare(cells: Sequence[tuple[int, int]] = CELLS, *, seeds: int = 1) -> None:
    """Print, cell by cell, how long each takes."""
    print(f"time to within 0.1 % of the best known loss; > : not within {LONGEST_SECONDS:.0f} s")
    print(f"{'K':>3} {'L':>2} {'best known':>11} {'ours':>8} {'random':>9} {'SciPy':>9} {'ratio':>8}  SciPy's best")
    for num_classes, depth in cells:
        entry = catalogue.find(num_classes, depth, DECAY)
        if entry is None:
            print(f"{num_classes:3} {depth:2} has no entry in the catalogue: make catalogue")
            continue
        goal = entry.loss * (1 + CLOSE)
        ours = statistics.median(_ours(num_classes, depth, goal, seed, families=True) for seed in range(seeds))
        alone = statistics.median(_ours(num_classes, depth, goal, seed, families=False) for seed in range(seeds))
        theirs, best = _scipy(num_classes, depth, goal)
        more = ">" if theirs >= LONGEST_SECONDS else " "
        slow = ">" if alone >= LONGEST_SECONDS else " "
        times = f"{ours:7.2f}s {slow}{alone:7.2f}s {more}{theirs:7.2f}s {more}{theirs / ours:6.1f}x"
        print(
            f"{num_classes:3} {depth:2} {entry.loss:11.7f} {times}  {best / entry.loss - 1:+.2%}",
            flush=True,
        )


def _problem(num_classes: int, depth: int) -> Problem:
    width = max(30, 2 * num_classes)
    return Problem(
        num_classes=num_classes, widths=(width,) * depth, weight_decays=(DECAY,) * depth, feature_decay=DECAY
    )


def _ours(num_classes: int, depth: int, goal: float, seed: int, *, families: bool) -> float:
    """Seconds until the search has seen the goal."""
    began = time.monotonic()
    problem = _problem(num_classes, depth)
    starts = reference_starts(problem) if families else []
    before = time.monotonic() - began
    found = search(
        problem,
        restarts=1024,
        seed=seed,
        starts=starts,
        effort=Effort(patience=8, deadline=began + LONGEST_SECONDS, goal=goal),
    )
    seen = next((seconds for seconds, loss in found.history if loss <= goal), LONGEST_SECONDS)
    return min(before + seen, LONGEST_SECONDS)


def _scipy(num_classes: int, depth: int, goal: float) -> tuple[float, float]:
    """Seconds until one of SciPy's runs has ended at the goal, and the best loss by then."""
    objective = Objective(_problem(num_classes, depth))
    generator = torch.Generator().manual_seed(0)
    began, best, run = time.monotonic(), float("inf"), 0
    while best > goal and time.monotonic() - began < LONGEST_SECONDS:
        start = random_starts(objective, 1, generator)[0] if run % 2 else _normal(objective, generator)
        run += 1

        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            if time.monotonic() - began > LONGEST_SECONDS:
                raise TimeoutError
            loss, gradient = objective.value_and_gradient(torch.from_numpy(flat)[None], smoothing=0)
            return float(loss), gradient[0].numpy()

        try:
            best = min(best, minimize(value, start.double().numpy(), jac=True, method="L-BFGS-B").fun)
        except TimeoutError:
            break
    return min(time.monotonic() - began, LONGEST_SECONDS), best


def _normal(objective: Objective, generator: torch.Generator) -> torch.Tensor:
    return torch.cat(
        [torch.randn(rows * columns, generator=generator) / columns**0.5 for rows, columns in objective.shapes]
    )
