"""L-BFGS for a batch of independent problems, side by side.

SciPy's and torch's minimise one vector at a time: a batch of 48 small networks would pay their overhead 48 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

Flat = Float[Tensor, "runs variables"]
Values = Float[Tensor, " runs"]
ValueAndGradient = Callable[[Flat], tuple[Values, Flat]]

MEMORY: Final = 8
SUFFICIENT_DECREASE: Final = 1e-4
MOST_BACKTRACKS: Final = 8
STEPS_BETWEEN_LOOKS: Final = 5
MOST_STALLED: Final = 3
"""Steps without any gain after which a run has ended: the history that led astray is overwritten sooner or never."""
KEPT_TOGETHER: Final = 0.8
"""A batch is made smaller once at most this share of its runs goes on."""


def minimise(function: ValueAndGradient, flat: Flat, *, steps: int, tolerance: float, tick: Callable[[], None]) -> Flat:
    """Where each run comes to with at most so many steps of L-BFGS with backtracking.

    A run ends when ‖gradient‖ ≤ tolerance · ‖variables‖, or when rounding or a kink lets no step bring anything. No
    run's value ever rises; runs do not influence each other. `tick` is called every few steps and may raise.

    Source: Nocedal, Wright, "Numerical Optimization", algorithms 7.4 and 3.1.
    """
    result = flat.clone()
    places = torch.arange(len(flat), device=flat.device)
    value, gradient = function(flat)
    stalled = torch.zeros_like(value)
    history = _History(flat)
    for step in range(steps):
        if step % STEPS_BETWEEN_LOOKS == 0:
            tick()
            going = (gradient.norm(dim=1) > tolerance * flat.norm(dim=1)) & (stalled < MOST_STALLED)
            number = int(going.sum())
            if number <= KEPT_TOGETHER * len(flat):  # runs that have ended leave the batch
                result[places] = flat
                if not number:
                    return result
                places, flat, value, gradient, stalled = (x[going] for x in (places, flat, value, gradient, stalled))
                history.keep(going)
        direction, slope = history.direction(gradient)
        new_flat, new_value, new_gradient = _backtrack(function, flat, value, gradient, direction, slope)
        stalled = torch.where(new_value < value, 0, stalled + 1)
        history.add(new_flat - flat, new_gradient - gradient)
        flat, value, gradient = new_flat, new_value, new_gradient
    result[places] = flat
    return result


class _History:
    """The last steps and changes of the gradient, and the inverse Hessian that they make."""

    def __init__(self, flat: Flat) -> None:
        runs = flat.shape[0]
        self._steps = flat.new_zeros(MEMORY, *flat.shape)
        self._changes = flat.new_zeros(MEMORY, *flat.shape)
        self._inverse_curvature = flat.new_zeros(MEMORY, runs)
        self._scale = flat.new_zeros(runs)
        self._count = 0

    def keep(self, going: Tensor) -> None:
        """Forget the other runs."""
        self._steps, self._changes = self._steps[:, going], self._changes[:, going]
        self._inverse_curvature, self._scale = self._inverse_curvature[:, going], self._scale[going]

    def direction(self, gradient: Flat) -> tuple[Flat, Values]:
        """A direction of descent for each run, and the derivative along it."""
        places = [index % MEMORY for index in range(max(0, self._count - MEMORY), self._count)]
        direction = -gradient
        shares: dict[int, Tensor] = {}
        for place in reversed(places):
            shares[place] = self._inverse_curvature[place] * (self._steps[place] * direction).sum(dim=1)
            direction.addcmul_(shares[place][:, None], self._changes[place], value=-1)
        # Before there is any curvature: a step of a tenth of unit length.
        first = 0.1 / gradient.norm(dim=1).clamp_min(1e-12)
        scale = torch.where(self._scale > 0, self._scale, first)[:, None]
        direction.mul_(scale)
        for place in places:
            along = self._inverse_curvature[place] * (self._changes[place] * direction).sum(dim=1)
            direction.addcmul_((shares[place] - along)[:, None], self._steps[place])
        slope = (direction * gradient).sum(dim=1)
        uphill = slope >= 0  # rounding, or a history across a kink
        if bool(uphill.any()):
            direction = torch.where(uphill[:, None], -gradient * scale, direction)
            slope = torch.where(uphill, (direction * gradient).sum(dim=1), slope)
        return direction, slope

    def add(self, step: Flat, change: Flat) -> None:
        """Remember; a pair without positive curvature counts for nothing."""
        curvature, size = (step * change).sum(dim=1), change.square().sum(dim=1)
        usable = curvature > 1e-10 * size.sqrt() * step.norm(dim=1)
        place = self._count % MEMORY
        self._steps[place] = torch.where(usable[:, None], step, 0)
        self._changes[place] = torch.where(usable[:, None], change, 0)
        self._inverse_curvature[place] = torch.where(usable, 1 / curvature, 0)
        self._scale = torch.where(usable, curvature / size, self._scale)
        self._count += 1


def _backtrack(
    function: ValueAndGradient, flat: Flat, value: Values, gradient: Flat, direction: Flat, slope: Values
) -> tuple[Flat, Values, Flat]:
    """Shorten the steps that do not bring enough, by quadratic interpolation; a run that finds none stays."""
    length = torch.ones_like(value)
    new_flat = flat + direction
    new_value, new_gradient = function(new_flat)
    for _ in range(MOST_BACKTRACKS):
        failed = (~(new_value <= value + SUFFICIENT_DECREASE * length * slope)).nonzero()[:, 0]
        if not len(failed):
            break
        tried = length[failed]
        vertex = -slope[failed] * tried**2 / (2 * (new_value[failed] - value[failed] - slope[failed] * tried))
        length[failed] = torch.where(torch.isfinite(vertex), vertex.clamp(0.1 * tried, 0.5 * tried), 0.1 * tried)
        new_flat[failed] = flat[failed] + length[failed, None] * direction[failed]
        new_value[failed], new_gradient[failed] = function(new_flat[failed])
    risen = ~(new_value <= value)
    if bool(risen.any()):
        new_flat[risen], new_value[risen], new_gradient[risen] = flat[risen], value[risen], gradient[risen]
    return new_flat, new_value, new_gradient
