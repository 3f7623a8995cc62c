"""The last digits of a minimum: Newton's method on the smoothed loss, the smoothing going to 0."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.dufm.search.objective import Objective
from analysis.dufm.search.quasi_newton import minimise

LARGEST_HESSIAN: Final = 1500
"""Variables up to which the Hessian is formed (18 MB, half a second a step); beyond, quasi-Newton steps must do."""
SMOOTHINGS: Final = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
"""σ_ε differs from σ by ε/4 at most: at the last, a loss of 0.1 is right to 1e-8 and better."""
STEPS, LAST_STEPS = 12, 120
"""For each smoothing but the last, and for the last."""
CONVERGED: Final = 1e-6
"""‖gradient‖ ≤ this · λ̄ · ‖variables‖."""
LARGEST_DAMPING: Final = 1e6

Flat = Float64[Tensor, "1 variables"]


class OutOfTime(Exception):
    """What `tick` raises where the polish shall end with what it has."""


def polish(objective: Objective, flat: Flat, *, tick: Callable[[], None]) -> Flat:
    """The minimum next to this run, to about 1e-8 of the loss, pre-activations at kinks within 1e-7 of 0.

    A minimum of the smoothed loss has σ_ε' of its kinks between 0 and 1: it is stationary with its kinks taken for what
    they are, where a descent on the ReLU itself would stall on them. Where the loss without smoothing would rise, the
    run stays as it was. `tick` is called every step; what it raises comes out, but for OutOfTime, which ends the work.
    """
    if flat.shape[1] > LARGEST_HESSIAN:
        return _by_quasi_newton(objective, flat, tick)
    best, best_value = flat, float(objective.value_and_gradient(flat, smoothing=0)[0])
    current = flat
    for smoothing in SMOOTHINGS:
        steps = LAST_STEPS if smoothing == SMOOTHINGS[-1] else STEPS
        try:
            current = _newton(objective, current, smoothing, steps, tick)
        except OutOfTime:
            return best
        value = float(objective.value_and_gradient(current, smoothing=0)[0])
        if value <= best_value:
            best, best_value = current, value
    # The last one is the one that is stationary, if it costs no digit that counts.
    value = float(objective.value_and_gradient(current, smoothing=0)[0])
    return current if value <= best_value * (1 + 1e-8) else best


def _by_quasi_newton(objective: Objective, flat: Flat, tick: Callable[[], None]) -> Flat:
    for smoothing in SMOOTHINGS[:5]:
        function = partial(objective.value_and_gradient, smoothing=smoothing)
        try:
            flat = minimise(function, flat, steps=300, tolerance=1e-9, tick=tick)
        except OutOfTime:
            break
    return flat


def _newton(objective: Objective, flat: Flat, smoothing: float, steps: int, tick: Callable[[], None]) -> Flat:
    """Levenberg's damping: H + μ I must be positive definite and the step must bring a part of what it promises."""
    value, gradient = objective.value_and_gradient(flat, smoothing=smoothing)
    damping = 1e-4 * objective.decay
    identity = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
    for _ in range(steps):
        tick()
        if gradient.norm() <= CONVERGED * objective.decay * flat.norm():
            break
        hessian = objective.hessian(flat, smoothing=smoothing)
        hessian = (hessian + hessian.mT) / 2
        while damping < LARGEST_DAMPING:
            factor, failed = torch.linalg.cholesky_ex(hessian + damping * identity)
            if not failed:
                step = -torch.cholesky_solve(gradient.mT, factor).mT
                new_value, new_gradient = objective.value_and_gradient(flat + step, smoothing=smoothing)
                if new_value <= value + 1e-4 * (gradient * step).sum():
                    break
            damping *= 8
        else:
            break  # no step brings anything: what is left is rounding
        flat, value, gradient = flat + step, new_value, new_gradient
        damping = max(damping / 16, 1e-9 * objective.decay)
    return flat
