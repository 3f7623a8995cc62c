"""What to change, in words, where runs have diverged or not converged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor, log10
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from analysis.dufm.model import Variables, losses_and_gradients
from analysis.dufm.problem import Problem
from analysis.dufm.report import TrainingRun

if TYPE_CHECKING:
    from analysis.commands import TrainDufm

ITERATIONS: Final = 30
"""Of the power method, which need not be exact: the advice has one digit."""
STILL_FALLING: Final = 1e-3
"""Share of the loss that a run must have lost over the last fifth of its steps for more steps to be of use."""


def advise(
    command: TrainDufm, runs: Sequence[TrainingRun], initial: Variables, losses: Sequence[Mapping[int, float]]
) -> tuple[str, ...]:
    """What to change; nothing where every run has converged.

    initial: the variables at the start, of all runs. losses: of each run, step → loss where it was recorded.
    """
    return tuple(_advice(command, runs, initial, losses))


def _advice(
    command: TrainDufm, runs: Sequence[TrainingRun], initial: Variables, losses: Sequence[Mapping[int, float]]
) -> Iterator[str]:
    diverged = [index for index, run in enumerate(runs) if run.stop_reason == "diverged"]
    if diverged:
        rate = suggest_rate(command.model, initial.run(diverged[0]), command.learning_rate)
        yield (
            f"{_of(diverged, runs)} diverged: learning_rate={command.learning_rate:g} is too large for this start; "
            f"try {rate:g}, or a smaller init_scale"
        )
    if command.stop_when is None:
        return
    stopped = [index for index, run in enumerate(runs) if run.stop_reason == "step_limit"]
    falling = [index for index in stopped if _falls(losses[index])]
    standing = [index for index in stopped if index not in falling]
    if falling:
        yield (
            f"{_of(falling, runs)} reached the step limit with a loss that still falls: take more steps than "
            f"{command.steps}"
        )
    if standing:
        norm = max(runs[index].gradient_norm or 0.0 for index in standing)
        why = (
            "solutions of low rank lie on the kinks of the ReLU, which steps of one length keep crossing; a smaller "
            "learning_rate comes closer to them"
            if command.activation == "relu" and command.depth > 1
            else "it still moves, slowly: take more steps, or a larger stop_when.gradient_norm"
        )
        yield (
            f"{_of(standing, runs)} reached the step limit with a loss that no longer falls and ‖∇Loss‖ up to "
            f"{norm:.0e} of the norm of the variables: {why}"
        )


def suggest_rate(problem: Problem, variables: Variables, rate: float) -> float:
    """A learning rate, of one digit, for a run that has diverged at `rate`.

    Gradient descent is stable below 2 over the largest curvature; half of that at the start, and at most half of what
    was too much.
    """
    curvature = largest_curvature(problem, variables)
    suggested = min(rate / 2, 1 / curvature if curvature > 0 else rate / 2)
    digit = 10.0 ** floor(log10(suggested))
    return floor(suggested / digit + 1e-9) * digit


def largest_curvature(problem: Problem, variables: Variables) -> float:
    """The size of the largest eigenvalue of one run's Hessian, by the power method; 0 if none is found.

    The Hessian times a direction is a central difference of two gradients.
    """
    generator = torch.Generator().manual_seed(0)
    direction = [torch.empty_like(tensor).normal_(generator=generator) for tensor in variables.tensors]
    scale, curvature = float(_norm(variables.tensors)), 0.0
    for _ in range(ITERATIONS):
        length = float(_norm(direction))
        if not 0 < length < torch.inf:
            break
        step = 1e-5 * scale / length
        ahead, behind = (
            losses_and_gradients(problem, _moved(variables, direction, sign * step))[1] for sign in (1, -1)
        )
        image = [(a - b) / (2 * step) for a, b in zip(ahead.tensors, behind.tensors, strict=True)]
        curvature = float(_norm(image)) / length
        direction = image
    return curvature if curvature < torch.inf else 0.0


def _moved(variables: Variables, direction: Sequence[Tensor], length: float) -> Variables:
    features, *weights = (tensor + length * along for tensor, along in zip(variables.tensors, direction, strict=True))
    return Variables(features, tuple(weights))


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt()


def _falls(losses: Mapping[int, float]) -> bool:
    last = max(losses)
    before = [loss for step, loss in losses.items() if step <= 0.8 * last]
    return bool(before) and losses[last] < (1 - STILL_FALLING) * before[-1]


def _of(indices: Sequence[int], runs: Sequence[TrainingRun]) -> str:
    return f"{len(indices)} of {len(runs)} runs" if len(runs) > 1 else "the run"
