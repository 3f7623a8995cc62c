"""Minimise with the kinks smoothed, ever less."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from jaxtyping import Float
from torch import Tensor

from analysis.dufm.search.objective import Flat, Objective
from analysis.dufm.search.quasi_newton import minimise

Schedule = tuple[tuple[float, int], ...]
"""(ε, steps): in turn."""

COLD: Final[Schedule] = ((0.3, 100), (0.1, 100), (0.03, 100), (0.01, 100))
"""From random starts. Pre-activations are of size 1, so 0.3 is much."""
WARM: Final[Schedule] = ((0.1, 80), (0.03, 80), (0.01, 100))
"""From a disturbed solution."""
GENTLE: Final[Schedule] = ((0.02, 80), (0.005, 100))
"""From a solution of a neighbouring problem, whose geometry shall stay."""
FINE: Final[Schedule] = ((0.003, 150), (0.001, 150), (0.0, 150))
"""After any of these: close to the minimum with its kinks."""

TOLERANCE: Final = 1e-5


def anneal(
    objective: Objective, flat: Flat, schedule: Schedule, *, tick: Callable[[], None]
) -> tuple[Flat, Float[Tensor, " runs"]]:
    """Where the runs come to, in their order, and their losses without smoothing."""
    for smoothing, steps in schedule:
        flat = minimise(
            partial(objective.value_and_gradient, smoothing=smoothing),
            flat,
            steps=steps,
            tolerance=TOLERANCE,
            tick=tick,
        )
    return flat, objective.value_and_gradient(flat, smoothing=0)[0]
