"""Matrices of a solution of the reduced problem, in numpy: loss, rank, and no neuron too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from analysis.dufm.families.equivariant import Equivariant, Point
from analysis.dufm.families.symmetry import Matrix
from analysis.dufm.model import Variables

NEGLIGIBLE: Final = 1e-9
"""Share of the largest neuron's, or singular value's, up to which one is left out."""
RANK_TOLERANCE: Final = 1e-3
ZERO: Final = 1e-9
"""A solution whose loss is less than this below ½ is none."""


@dataclass(frozen=True)
class Network:
    """H_1 (d_1 × K), W_1 … W_L; ReLU between, n = 1."""

    features: Matrix
    weights: tuple[Matrix, ...]

    @classmethod
    def of(cls, problem: Equivariant, point: Point) -> Network:
        """The network that a point stands for."""
        features, *weights = problem.matrices(point)
        return cls(features, tuple(weights))

    @property
    def widths(self) -> tuple[int, ...]:
        """d_1 … d_L."""
        return tuple(weight.shape[1] for weight in self.weights)

    @property
    def pre_activations(self) -> list[Matrix]:
        """H_2 … H_{L+1}."""
        hidden = [self.weights[0] @ self.features]
        for weight in self.weights[1:]:
            hidden.append(weight @ hidden[-1].clip(0))
        return hidden

    def loss(self, decay: float) -> float:
        """Of the reduced problem."""
        output = self.pre_activations[-1]
        error = output - np.eye(len(output))
        squares = sum(float(np.vdot(matrix, matrix)) for matrix in (self.features, *self.weights))
        return float(np.vdot(error, error)) / (2 * len(output)) + decay / 2 * squares

    @property
    def rank(self) -> int:
        """#{k : s_k > 1e-3 · s_1} of H_L; of the output where L = 1; 0 for zeros."""
        values = np.linalg.svd(self.pre_activations[-2 if len(self.weights) > 1 else -1], compute_uv=False)
        return int((values > RANK_TOLERANCE * values[0]).sum()) if values.size and values[0] > 0 else 0

    @property
    def variables(self) -> Variables:
        """As a batch of one, float64."""
        tensors = [torch.from_numpy(np.ascontiguousarray(matrix))[None] for matrix in (self.features, *self.weights)]
        return Variables(tensors[0], tuple(tensors[1:]))


def trim(network: Network, decay: float) -> tuple[Network, Bool[ndarray, " neurons"]]:
    """The network without neurons that do nothing, and which of the last hidden layer's are left.

    In layer 1, where there is no ReLU, H_1 and W_1 become the balanced factors of W_1 H_1: as many neurons as its rank.
    A network that is no better than zero loses all neurons.
    """
    if network.loss(decay) > 0.5 - ZERO:
        return zero_network(len(network.weights[-1]), len(network.weights)), np.zeros(network.widths[-1], dtype=bool)
    weights = list(network.weights)
    alive = np.ones(network.widths[0], dtype=bool)
    for index in range(1, len(weights)):
        strength = np.linalg.norm(weights[index - 1], axis=1) * np.linalg.norm(weights[index], axis=0)
        alive = strength > NEGLIGIBLE * strength.max()
        weights[index - 1], weights[index] = weights[index - 1][alive], weights[index][:, alive]
    left, values, right = np.linalg.svd(weights[0] @ network.features, full_matrices=False)
    kept = values > NEGLIGIBLE * values[0]
    roots = np.sqrt(values[kept])
    return Network(roots[:, None] * right[kept], (left[:, kept] * roots, *weights[1:])), alive


def zero_network(num_classes: int, depth: int) -> Network:
    """No neurons at all: output 0."""
    rows = [0] * (depth - 1) + [num_classes]
    return Network(np.zeros((0, num_classes)), tuple(np.zeros((row, 0)) for row in rows))
