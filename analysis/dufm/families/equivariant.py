"""The reduced problem (n = 1, all decays λ̄) among networks with given symmetries: few variables, whatever K is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from analysis.dufm.families.symmetry import Labels, Matrix, Symmetry

Point = Float64[ndarray, " variables"]
Pattern = tuple[Bool[ndarray, "_"], ...]
"""For H_2 … H_L: the orbits of pre-activations that the ReLU lets through."""


@dataclass(frozen=True)
class Equivariant:
    """The loss as a function of one variable for each orbit of each matrix: H_1, W_1 … W_L.

    A variable is the entry times the root of the orbit's size, so that the sum of squares is that of all entries.
    """

    symmetry: Symmetry
    decay: float

    @cached_property
    def labels(self) -> tuple[Labels, ...]:
        """Orbits of the entries of H_1, W_1 … W_L."""
        return (self.symmetry.features, *self.symmetry.weights)

    @cached_property
    def sizes(self) -> tuple[Float64[ndarray, _], ...]:
        """Entries of each orbit of each matrix."""
        return tuple(np.bincount(labels.ravel()).astype(np.float64) for labels in self.labels)

    @cached_property
    def products(self) -> tuple[Float64[ndarray, "_ _ _"], ...]:
        """T_l with H_{l+1}[a] = Σ_bc T_l[a, b, c] W_l[b] σ(H_l)[c]: in an orbit, all entries have the same sum."""
        inputs, roots = self.labels[0], np.sqrt(self.sizes[0])
        tensors = []
        for weight, output in zip(self.labels[1:], self.symmetry.activations, strict=True):
            tensor = np.zeros((output.max() + 1, weight.max() + 1, inputs.max() + 1))
            for orbit, first in enumerate(np.unique(output, return_index=True)[1]):
                row, column = divmod(int(first), output.shape[1])
                np.add.at(tensor[orbit], (weight[row], inputs[:, column]), 1)
            tensors.append(tensor / roots)
            inputs, roots = output, np.ones(1)
        return tuple(
            tensor / np.sqrt(size)[None, :, None] for tensor, size in zip(tensors, self.sizes[1:], strict=True)
        )

    @cached_property
    def target(self) -> tuple[Float64[ndarray, " orbits"], Float64[ndarray, " orbits"]]:
        """Of the orbits of the output: the value in Y, and the number of entries over K."""
        labels = self.symmetry.activations[-1]
        values = np.zeros(labels.max() + 1)
        values[labels.diagonal()] = 1
        return values, np.bincount(labels.ravel()) / len(labels)

    @cached_property
    def cuts(self) -> list[int]:
        """Where the variables of one matrix end and those of the next begin."""
        return [int(cut) for cut in np.cumsum([len(size) for size in self.sizes])[:-1]]

    def value_and_gradient(self, point: Point, pattern: Pattern | None = None) -> tuple[float, Point]:
        """The loss; with a pattern, of the network whose ReLU is linear: 1 on the pattern, 0 off it.

        The two are the same where the pattern is that of the signs of the pre-activations.
        """
        features, *weights = np.split(point, self.cuts)
        activation, partials, passed = features, [], []
        for index, (product, weight) in enumerate(zip(self.products, weights, strict=True)):
            partial = product @ activation
            output = partial @ weight
            partials.append(partial)
            if index < len(weights) - 1:
                passed.append(output > 0 if pattern is None else pattern[index])
                activation = output * passed[-1]
        target, shares = self.target
        error = output - target
        back = shares * error
        gradients = []
        for index in reversed(range(len(weights))):
            gradients.append(back @ partials[index])
            back = weights[index] @ np.tensordot(back, self.products[index], 1)
            if index:
                back = back * passed[index - 1]
        loss = float(shares @ (error * error) + self.decay * (point @ point)) / 2
        return loss, np.concatenate([back, *reversed(gradients)]) + self.decay * point

    def pre_activations(
        self, point: Point, pattern: Pattern
    ) -> tuple[Float64[ndarray, " orbits"], Float64[ndarray, "orbits variables"]]:
        """H_2 … H_L of the network with this pattern, and their derivatives by the variables."""
        features, *weights = np.split(point, self.cuts)
        activation, begin = features, len(features)
        derivative = np.eye(len(features), len(point))
        values, derivatives = [], []
        for product, weight, passed in zip(self.products, weights, pattern, strict=False):
            partial = product @ activation
            derivative = np.tensordot(product, weight, (1, 0)) @ derivative
            derivative[:, begin : begin + len(weight)] += partial
            begin += len(weight)
            values.append(partial @ weight)
            derivatives.append(derivative)
            activation, derivative = values[-1] * passed, derivative * passed[:, None]
        return np.concatenate(values), np.concatenate(derivatives)

    def pattern(self, point: Point, *, tolerance: float = 0.0) -> Pattern:
        """Where the pre-activations are above the tolerance."""
        features, *weights = np.split(point, self.cuts)
        activation, above = features, []
        for product, weight in zip(self.products[:-1], weights, strict=False):
            output = product @ activation @ weight
            above.append(output > tolerance)
            activation = output.clip(0)
        return tuple(above)

    def matrices(self, point: Point) -> list[Matrix]:
        """H_1, W_1 … W_L."""
        parts = zip(np.split(point, self.cuts), self.sizes, self.labels, strict=True)
        return [(part / np.sqrt(size))[labels] for part, size, labels in parts]

    def project(self, matrices: list[Matrix]) -> Point:
        """The nearest equivariant matrices: means over the orbits."""
        parts = zip(matrices, self.sizes, self.labels, strict=True)
        return np.concatenate(
            [np.bincount(labels.ravel(), matrix.ravel()) / np.sqrt(size) for matrix, size, labels in parts]
        )
