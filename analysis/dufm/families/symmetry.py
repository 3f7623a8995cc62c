"""Matrices that a group of symmetries leaves unchanged: which of their entries are equal.

A group acts on the classes and on the neurons of each layer. A matrix is equivariant, W[gi, gj] = W[i, j] for all g,
if it is constant on the orbits of pairs (i, j). Products of equivariant matrices and their images under a ReLU are
equivariant: a network of such weights has as many variables and activations as there are orbits, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float64, Int
from numpy import ndarray

Matrix = Float64[ndarray, "_ _"]
Points = Int[ndarray, "_ _"]
"""Classes, or the neurons of a layer: one a row, as the relation understands it."""
Labels = Int[ndarray, "_ _"]
"""The orbit of each pair: 0, 1, …, each of which occurs."""
Relation = Callable[[Points, Points], Labels]


@dataclass(frozen=True)
class Symmetry:
    """Classes, neurons of the L layers, and what tells the orbits of their pairs."""

    classes: Points
    neurons: tuple[Points, ...]
    relation: Relation

    @property
    def features(self) -> Labels:
        """Of H_1: d_1 × K."""
        return self.relation(self.neurons[0], self.classes)

    @property
    def weights(self) -> tuple[Labels, ...]:
        """Of W_1 … W_L: d_{l+1} × d_l."""
        onto = (*self.neurons[1:], self.classes)
        return tuple(self.relation(rows, columns) for rows, columns in zip(onto, self.neurons, strict=True))

    @property
    def activations(self) -> tuple[Labels, ...]:
        """Of H_2 … H_{L+1}: d_{l+1} × K."""
        return tuple(self.relation(rows, self.classes) for rows in (*self.neurons[1:], self.classes))
