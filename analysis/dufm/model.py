"""The model's variables, forward pass, loss and gradient, for a batch of runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from analysis.dufm.problem import Problem


@dataclass(frozen=True)
class Variables:
    """H_1 and W_1 … W_L of a batch of runs."""

    features: Float[Tensor, "runs d_1 N"]
    weights: tuple[Float[Tensor, "runs _ _"], ...]

    def run(self, index: int) -> Variables:
        """One run of the batch, as a batch of one."""
        return Variables(self.features[index : index + 1], tuple(weight[index : index + 1] for weight in self.weights))

    def select(self, runs: Int64[Tensor, " selected"]) -> Variables:
        """These runs, in this order, in memory of their own."""
        features, *weights = (tensor.index_select(0, runs) for tensor in self.tensors)
        return Variables(features, tuple(weights))

    def to(self, device: str) -> Variables:
        """The same on this device."""
        features, *weights = (tensor.to(device) for tensor in self.tensors)
        return Variables(features, tuple(weights))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """H_1, W_1, …, W_L."""
        return (self.features, *self.weights)


class Losses(NamedTuple):
    """Of each run of the batch; the loss is their sum."""

    fit: Float[Tensor, " runs"]
    regularization: Float[Tensor, " runs"]

    @property
    def loss(self) -> Float[Tensor, " runs"]:
        """Fit + regularization."""
        return self.fit + self.regularization


def pre_activations(problem: Problem, variables: Variables) -> list[Float[Tensor, "runs d N"]]:
    """H_2 … H_{L+1}; the last is the output.

    >>> problem = Problem(num_classes=2, widths=(2, 2), weight_decays=(0.1, 0.1), feature_decay=0.1)
    >>> eye = torch.eye(2)[None]
    >>> [h.int().tolist() for h in pre_activations(problem, Variables(eye, (-eye, eye)))]
    [[[[-1, 0], [0, -1]]], [[[0, 0], [0, 0]]]]
    """
    hidden = [variables.weights[0] @ variables.features]
    for weight in variables.weights[1:]:
        hidden.append(weight @ activate(problem, hidden[-1]))
    return hidden


def activate(problem: Problem, pre_activation: Tensor) -> Tensor:
    """σ, entry by entry."""
    return pre_activation.relu() if problem.activation == "relu" else pre_activation


def layer_matrices(problem: Problem, variables: Variables) -> dict[str, Float[Tensor, "runs d N"]]:
    """Each of `problem.layers` by name: H_1, then H_l and σ(H_l) for l = 2 … L, and the output."""
    *hidden, output = pre_activations(problem, variables)
    matrices = [variables.features]
    for pre_activation in hidden:
        matrices += [pre_activation, activate(problem, pre_activation)]
    return dict(zip(problem.layers, (*matrices, output), strict=True))


def class_means(problem: Problem, matrix: Float[Tensor, "runs d N"]) -> Float[Tensor, "runs d K"]:
    """The mean of each class's n columns, which stand side by side."""
    if problem.samples_per_class == 1:
        return matrix
    by_class = matrix.reshape(*matrix.shape[:2], problem.num_classes, problem.samples_per_class)
    return by_class.mean(dim=3)


def losses(problem: Problem, variables: Variables) -> Losses:
    """Fit and regularization of each run (formulas: `Problem`)."""
    return Losses(
        _fit(problem, pre_activations(problem, variables)[-1]),
        _regularization(problem, variables),
    )


def losses_and_gradients(problem: Problem, variables: Variables) -> tuple[Losses, Variables]:
    """The losses, and the gradient of each run's loss; σ'(0) = 0, as autograd has it."""
    hidden = pre_activations(problem, variables)
    activated = [variables.features, *(activate(problem, h) for h in hidden[:-1])]
    back = _fit_gradient(problem, hidden[-1])
    gradients: list[Tensor] = []
    for index in reversed(range(problem.depth)):
        weight = variables.weights[index]
        gradients.append(torch.baddbmm(weight, back, activated[index].mT, beta=problem.weight_decays[index]))
        back = weight.mT @ back
        if index and problem.activation == "relu":
            back = back * (hidden[index - 1] > 0)
    gradient = Variables(back.add_(variables.features, alpha=problem.feature_decay), tuple(reversed(gradients)))
    return Losses(_fit(problem, hidden[-1]), _regularization(problem, variables)), gradient


def targets(problem: Problem, *, like: Tensor) -> Float[Tensor, "K N"]:
    """Y = I_K ⊗ 1_nᵀ."""
    eye = torch.eye(problem.num_classes, dtype=like.dtype, device=like.device)
    return eye.repeat_interleave(problem.samples_per_class, dim=1)


def _fit(problem: Problem, output: Tensor) -> Tensor:
    y = targets(problem, like=output)
    if problem.loss == "mse":
        return (output - y).square().sum(dim=(1, 2)) / (2 * problem.num_samples)
    return -(y * output.log_softmax(dim=1)).sum(dim=(1, 2)) / problem.num_samples


def _fit_gradient(problem: Problem, output: Tensor) -> Tensor:
    y = targets(problem, like=output)
    predicted = output if problem.loss == "mse" else output.softmax(dim=1)
    return (predicted - y) / problem.num_samples


def _regularization(problem: Problem, variables: Variables) -> Tensor:
    total = problem.feature_decay / 2 * variables.features.square().sum(dim=(1, 2))
    for decay, weight in zip(problem.weight_decays, variables.weights, strict=True):
        total = total + decay / 2 * weight.square().sum(dim=(1, 2))
    return total
