"""The loss of the reduced problem (n = 1, one decay), its ReLUs smoothed, as a function of flat vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem

Flat = Float[Tensor, "runs variables"]
Tick = Callable[[], None]
"""Called now and then; what it raises ends the search."""


@dataclass(frozen=True)
class Objective:
    """Loss and gradient of many runs side by side, each a row (H_1, W_1, …, W_L, flattened).

    The ReLU is smoothed to σ_ε(h) = 0 for h ≤ −ε, (h + ε)² / 4ε between, h for h ≥ ε: convex, once differentiable, and
    σ ≤ σ_ε ≤ σ + ε/4, with equality to σ outside of (−ε, ε). ε = 0 is the ReLU itself. A smooth landscape has fewer
    minima: those that ε = 0.3 leaves are of low rank, and lead to good ones when ε goes to 0.
    """

    problem: Problem

    def __post_init__(self) -> None:
        problem = self.problem
        if problem != problem.reduced or problem.loss != "mse" or problem.activation != "relu":
            raise ValueError(
                "the search works on the reduced problem: one sample a class, one decay, ReLU, squared error"
            )

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Of H_1, W_1, …, W_L."""
        return ((self.problem.widths[0], self.problem.num_classes), *self.problem.weight_shapes)

    @cached_property
    def sizes(self) -> list[int]:
        """Numbers of entries, in the same order."""
        return [rows * columns for rows, columns in self.shapes]

    @property
    def decay(self) -> float:
        """λ̄."""
        return self.problem.feature_decay

    def split(self, flat: Flat) -> list[Tensor]:
        """H_1, W_1, …, W_L, as views."""
        parts: tuple[Tensor, ...] = torch.split(flat, self.sizes, dim=1)
        return [part.view(len(flat), *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def flatten(self, variables: Variables) -> Flat:
        """The rows of these variables."""
        return torch.cat([tensor.flatten(1) for tensor in variables.tensors], dim=1)

    def variables(self, flat: Flat) -> Variables:
        """The variables of these rows."""
        features, *weights = self.split(flat)
        return Variables(features, tuple(weights))

    def value_and_gradient(self, flat: Flat, *, smoothing: float) -> tuple[Float[Tensor, " runs"], Flat]:
        """Of each run; at smoothing 0 with σ'(0) = 0."""
        features, *weights = self.split(flat)
        activated, slopes = [features], []
        hidden = torch.bmm(weights[0], features)
        for weight in weights[1:]:
            activation, slope = smooth_relu(hidden, smoothing)
            activated.append(activation)
            slopes.append(slope)
            hidden = torch.bmm(weight, activation)
        residual = hidden.sub_(self._targets(flat))
        num_classes = self.problem.num_classes
        value = residual.square().sum(dim=(1, 2)) / (2 * num_classes) + self.decay / 2 * flat.square().sum(dim=1)
        gradient = torch.empty_like(flat)
        parts = self.split(gradient)
        back = residual / num_classes
        for index in reversed(range(self.problem.depth)):
            parts[index + 1].copy_(torch.bmm(back, activated[index].mT))
            back = torch.bmm(weights[index].mT, back)
            if index:
                back.mul_(slopes[index - 1])
        parts[0].copy_(back)
        return value, gradient.add_(flat, alpha=self.decay)

    def hessian(self, flat: Float[Tensor, "1 variables"], *, smoothing: float) -> Float[Tensor, "variables variables"]:
        """Of one run at smoothing > 0: the derivative of `value_and_gradient` along every axis, all at once.

        Row i is the forward derivative along e_i, of the forward and then of the backward pass. `torch.func` gives
        the same at ten times the cost for layers this small.
        """
        features, *weights = self.split(flat)
        axes = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        features_moved, *weights_moved = self.split(axes)
        hidden = [weights[0] @ features]
        hidden_moved = [weights_moved[0] @ features + weights[0] @ features_moved]
        activated, activated_moved, slopes = [features], [features_moved], []
        for weight, weight_moved in zip(weights[1:], weights_moved[1:], strict=True):
            activation, slope = smooth_relu(hidden[-1], smoothing)
            slopes.append(slope)
            activated.append(activation)
            activated_moved.append(slope * hidden_moved[-1])
            hidden.append(weight @ activation)
            hidden_moved.append(weight_moved @ activation + weight @ activated_moved[-1])
        num_classes = self.problem.num_classes
        back, back_moved = (hidden[-1] - self._targets(flat)) / num_classes, hidden_moved[-1] / num_classes
        rows = self.decay * axes
        parts = self.split(rows)
        for index in reversed(range(self.problem.depth)):
            parts[index + 1].add_(back_moved @ activated[index].mT + back @ activated_moved[index].mT)
            back_moved = weights[index].mT @ back_moved + weights_moved[index].mT @ back
            back = weights[index].mT @ back
            if index:
                curvature = (hidden[index - 1].abs() < smoothing).to(flat.dtype) / (2 * smoothing)
                back_moved = slopes[index - 1] * back_moved + curvature * back * hidden_moved[index - 1]
                back = slopes[index - 1] * back
        parts[0].add_(back_moved)
        return rows

    def _targets(self, flat: Flat) -> Tensor:
        return torch.eye(self.problem.num_classes, dtype=flat.dtype, device=flat.device)


def objective_of(problem: Problem, variables: Variables) -> Objective:
    """That of a solution of the reduced problem, at the solution's own widths."""
    return Objective(replace(problem, widths=tuple(tensor.shape[1] for tensor in variables.tensors[:-1])))


def loss_at(problem: Problem, variables: Variables) -> float:
    """The loss of a solution of the reduced problem, whatever its widths."""
    objective = objective_of(problem, variables)
    return float(objective.value_and_gradient(objective.flatten(variables), smoothing=0)[0])


def smooth_relu(hidden: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """σ_ε and its slope.

    >>> [t.tolist() for t in smooth_relu(torch.tensor([-1.0, 0.0, 0.5, 2.0]), 1.0)]
    [[0.0, 0.25, 0.5625, 2.0], [0.0, 0.5, 0.75, 1.0]]
    """
    if smoothing == 0:
        activation = hidden.relu()
        return activation, (activation > 0).to(hidden.dtype)
    slope = ((hidden + smoothing) / (2 * smoothing)).clamp_(0, 1)
    # ε·slope² is 0 and ε at the ends of the smoothed stretch, so that this is σ_ε everywhere.
    return smoothing * slope.square() + (hidden - smoothing).relu_(), slope
