"""Classes and neurons that are subsets of a few elements, which a product of symmetric groups permutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod
from typing import Final

import numpy as np

from analysis.dufm.families.minimum import Start
from analysis.dufm.families.symmetry import Labels, Matrix, Points, Symmetry

Sizes = tuple[int, ...]
"""How many elements of each part a subset has."""
STARTS: Final = ((0.5, 1.0), (1.0, 0.5))
"""The power of s by which a class of s elements is divided; −(weight outside)/(weight inside) of a neuron."""


@dataclass(frozen=True)
class SetSystem:
    """S_a × S_b × … acts on a + b + … elements, each of which is a neuron of all layers but the last hidden one.

    Geometrically: elements are the vertices of a simplex, classes the centres of some of its faces.
    """

    parts: tuple[int, ...]
    """a, b, …"""
    classes: tuple[Sizes, ...]
    """The classes are all subsets of these sizes."""
    neurons: tuple[Sizes, ...]
    """Those of the last hidden layer, likewise."""

    @property
    def num_classes(self) -> int:
        """K."""
        return count(self.parts, self.classes)

    @property
    def width(self) -> int:
        """Neurons of the last hidden layer."""
        return count(self.parts, self.neurons)

    def symmetry(self, depth: int) -> Symmetry:
        """Of a network with L = depth weights, at least 3."""
        single = [sizes for sizes in product((0, 1), repeat=len(self.parts)) if sum(sizes) == 1]
        elements = subsets(self.parts, single)
        last = subsets(self.parts, self.neurons)
        return Symmetry(subsets(self.parts, self.classes), (*[elements] * (depth - 1), last), self.relation)

    def relation(self, rows: Points, columns: Points) -> Labels:
        """Orbits of pairs of subsets: by their sizes, and that of the intersection, in each part.

        >>> SetSystem((3,), ((2,),), ((2,),)).relation(subsets((3,), [(1,)]), subsets((3,), [(2,)]))
        array([[1, 1, 0],
               [1, 0, 1],
               [0, 1, 1]])
        """
        keys = np.zeros((len(rows), len(columns)), dtype=np.int64)
        ends = np.cumsum(self.parts)
        for begin, end in zip(ends - self.parts, ends, strict=True):
            left, right = rows[:, begin:end], columns[:, begin:end]
            # Products in float64, which are fast, and exact for such numbers.
            common = (left.astype(np.float64) @ right.T.astype(np.float64)).astype(np.int64)
            for values in (left.sum(axis=1)[:, None], right.sum(axis=1)[None, :], common):
                keys = keys * (end - begin + 1) + values
        occurs = np.zeros(keys.max() + 1, dtype=np.int64)
        occurs[keys] = 1
        return np.asarray((occurs.cumsum() - 1)[keys])

    def starts(self) -> list[Start]:
        """Classes at the centres of their subsets; neurons for their own elements, and against the others."""
        classes, last = subsets(self.parts, self.classes), subsets(self.parts, self.neurons)
        return [Start(_centres(classes, power), last - outside * (1.0 - last)) for power, outside in STARTS]


def count(parts: Sizes, orbits: Sequence[Sizes]) -> int:
    """Subsets of these sizes.

    >>> count((2, 3), [(1, 1), (0, 2)])
    9
    """
    return sum(prod(comb(part, size) for part, size in zip(parts, sizes, strict=True)) for sizes in orbits)


def subsets(parts: Sizes, orbits: Sequence[Sizes]) -> Points:
    """All subsets of these sizes, as rows of 0 and 1, in lexicographic order orbit by orbit.

    >>> subsets((1, 2), [(0, 2), (1, 1)])
    array([[0, 1, 1],
           [1, 1, 0],
           [1, 0, 1]])
    """
    rows = np.zeros((count(parts, orbits), sum(parts)), dtype=np.int64)
    begins = np.cumsum((0, *parts[:-1]))
    chosen = (
        choice
        for sizes in orbits
        for choice in product(
            *(
                combinations(range(begin, begin + part), size)
                for begin, part, size in zip(begins, parts, sizes, strict=True)
            )
        )
    )
    for row, choice in zip(rows, chosen, strict=True):
        row[[element for part in choice for element in part]] = 1
    return rows


def all_sizes(parts: Sizes, most: int) -> tuple[Sizes, ...]:
    """Sizes of all subsets but the empty one, those of the fewest subsets first, as long as they are `most` in all.

    >>> all_sizes((4,), most=9)
    ((4,), (1,), (3,))
    """
    by_count = sorted(product(*(range(part + 1) for part in parts)), key=lambda sizes: count(parts, [sizes]))
    taken: list[Sizes] = []
    for sizes in by_count:
        if any(sizes) and count(parts, [*taken, sizes]) <= most:
            taken.append(sizes)
    return tuple(taken)


def _centres(classes: Points, power: float) -> Matrix:
    """Elements × classes: 1/s^power at the s elements of a class."""
    return np.asarray((classes / classes.sum(axis=1, keepdims=True) ** power).T)
