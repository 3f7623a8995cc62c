"""Whether a solution can be improved by a small move, its kinks taken for what they are."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Bool, Float64
from scipy.optimize import minimize  # the field's bounded quasi-Newton method (L-BFGS-B)
from torch import Tensor

from analysis.dufm.report import Stationarity
from analysis.dufm.search.newton import LARGEST_HESSIAN
from analysis.dufm.search.objective import Objective, smooth_relu

KINK: Final = 1e-5
"""A pre-activation is at its kink if it is below this share of the largest one of its layer."""
MOST_STEPS: Final = 2000
RANDOM_DIRECTIONS: Final = 256
LARGEST_GRADIENT: Final = 1e-3
STEEPEST_DESCENT: Final = -1e-3
"""Up to these a solution counts as stationary."""

Flat = Float64[Tensor, "1 variables"]
Directions = Float64[Tensor, "directions variables"]


def check_stationarity(objective: Objective, flat: Flat) -> Stationarity:
    """Two one-sided tests of a single run, each relative to λ̄ ‖variables‖ and so free of units.

    `gradient_norm`: min ‖g‖ over the generalised gradients g that arise if σ' of each pre-activation at 0 is chosen
    from [0, 1]. Plain autograd takes σ'(0) = 0, and calls points stationary that are not and others not that are.

    `descent`: the least one-sided derivative lim_{t↓0} (Loss(x + t u) − Loss(x)) / t over unit directions u: against
    the least gradient, both ways along the directions that move one kink and no other, and random ones. It finds kinks
    that are concave, where a choice of σ' makes a gradient of 0 and yet the loss falls to one side.
    """
    scale = float(objective.decay * flat.norm())
    hidden = _hidden(objective, flat)
    kinks = [h.abs() <= KINK * h.abs().max().clamp_min(1e-300) for h in hidden]
    number = sum(int(kink.sum()) for kink in kinks)
    if scale == 0:
        return Stationarity(gradient_norm=0.0, kinks=number, descent=0.0, stationary=True)
    gradient = _least_gradient(objective, flat, hidden, kinks)
    directions = torch.cat([-gradient, _random(flat), *_along_kinks(objective, flat, kinks)])
    lengths = directions.norm(dim=1)
    directions = directions[lengths > 0] / lengths[lengths > 0, None]
    descent = float(_one_sided(objective, flat, hidden, kinks, directions).min()) / scale
    norm = float(gradient.norm()) / scale
    return Stationarity(
        gradient_norm=norm,
        kinks=number,
        descent=descent,
        stationary=norm <= LARGEST_GRADIENT and descent >= STEEPEST_DESCENT,
    )


def _hidden(objective: Objective, flat: Flat) -> list[Float64[Tensor, "1 d classes"]]:
    """H_2 … H_L."""
    features, *weights = objective.split(flat)
    hidden = [weights[0] @ features]
    for weight in weights[1:-1]:
        hidden.append(weight @ hidden[-1].relu())
    return hidden[: objective.problem.depth - 1]


def _least_gradient(
    objective: Objective, flat: Flat, hidden: list[Tensor], kinks: list[Bool[Tensor, "1 d classes"]]
) -> Flat:
    """The generalised gradient of least norm, found from the slopes that the smoothed loss has at the kinks."""
    slopes = [(h > 0).to(h.dtype) for h in hidden]
    starts = [
        smooth_relu(h, 1e-7)[1].masked_select(kink) if kink.any() else h.new_empty(0)
        for h, kink in zip(hidden, kinks, strict=True)
    ]
    start = torch.cat([*starts, flat.new_empty(0)])
    if not len(start):
        return _gradient(objective, flat, hidden, slopes)

    def with_slopes(chosen: Tensor) -> Flat:
        parts = torch.split(chosen, [len(part) for part in starts])
        filled = [slope.masked_scatter(kink, part) for slope, kink, part in zip(slopes, kinks, parts, strict=True)]
        return _gradient(objective, flat, hidden, filled)

    scale = (objective.decay * flat.norm()).square()

    def value(chosen: object) -> tuple[float, object]:
        tensor = torch.as_tensor(chosen, dtype=flat.dtype).requires_grad_()
        norm = with_slopes(tensor).square().sum() / scale
        norm.backward()
        assert tensor.grad is not None
        return float(norm.detach()), tensor.grad.numpy()

    # The value is a square: SciPy's tolerances would leave a norm of 1e-2 as it is.
    options = {"gtol": 1e-10, "ftol": 1e-14, "maxcor": 20, "maxiter": MOST_STEPS}
    found = minimize(value, start.numpy(), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(start), options=options)
    best = found.x if found.fun <= value(start.numpy())[0] else start.numpy()
    return with_slopes(torch.as_tensor(best, dtype=flat.dtype))


def _gradient(objective: Objective, flat: Flat, hidden: list[Tensor], slopes: list[Tensor]) -> Flat:
    """The gradient with these slopes in place of σ'."""
    features, *weights = objective.split(flat)
    activated = [features, *(h.relu() for h in hidden)]
    back = _residual(objective, weights[-1] @ activated[-1])
    gradients = []
    for index in reversed(range(objective.problem.depth)):
        gradients.append(back @ activated[index].mT)
        back = weights[index].mT @ back
        if index:
            back = back * slopes[index - 1]
    return torch.cat([g.flatten(1) for g in (back, *reversed(gradients))], dim=1) + objective.decay * flat


def _residual(objective: Objective, output: Tensor) -> Tensor:
    """∂ fit / ∂ output."""
    num_classes = objective.problem.num_classes
    return (output - torch.eye(num_classes, dtype=output.dtype)) / num_classes


def _one_sided(
    objective: Objective, flat: Flat, hidden: list[Tensor], kinks: list[Tensor], directions: Directions
) -> Float64[Tensor, " directions"]:
    """The derivative of the loss along each direction, forwards only: a kink lets through what lifts it."""
    moved, output = _moved(objective, flat, hidden, kinks, directions)
    residual = _residual(objective, output)
    return (residual * moved[-1]).sum(dim=(1, 2)) + objective.decay * (directions @ flat[0])


def _moved(
    objective: Objective, flat: Flat, hidden: list[Tensor], kinks: list[Tensor], directions: Directions
) -> tuple[list[Float64[Tensor, "directions d classes"]], Tensor]:
    """How H_2 … H_{L+1} move along each direction; and the output where they start."""
    features, *weights = objective.split(flat)
    features_moved, *weights_moved = objective.split(directions)
    moved = [weights_moved[0] @ features + weights[0] @ features_moved]
    output = weights[0] @ features
    for index, (h, kink) in enumerate(zip(hidden, kinks, strict=True), start=1):
        # A kink is at 0, give or take rounding: what it is must not count, only where it goes.
        activation = torch.where(kink, 0, h.relu())
        activation_moved = torch.where(kink, moved[-1].relu(), (h > 0) * moved[-1])
        moved.append(weights_moved[index] @ activation + weights[index] @ activation_moved)
        output = weights[index] @ activation
    return moved, output


def _random(flat: Flat) -> Directions:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(RANDOM_DIRECTIONS, flat.shape[1], generator=generator, dtype=flat.dtype)


def _along_kinks(objective: Objective, flat: Flat, kinks: list[Tensor]) -> list[Directions]:
    """Both ways along the least directions that move one kink alone, others kept where they are, to first order."""
    if flat.shape[1] > LARGEST_HESSIAN or not any(bool(kink.any()) for kink in kinks):
        return []
    hidden = _hidden(objective, flat)
    axes = torch.eye(flat.shape[1], dtype=flat.dtype)
    moved, _ = _moved(objective, flat, hidden, [torch.zeros_like(kink) for kink in kinks], axes)
    jacobian = torch.cat([m[:, kink[0]] for m, kink in zip(moved, kinks, strict=False)], dim=1).mT
    alone = torch.linalg.pinv(jacobian, rtol=1e-8).mT
    return [alone, -alone]
