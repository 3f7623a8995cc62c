"""A simplex and one more vertex, the apex: faces of the simplex, and what stands on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from analysis.dufm.families.set_systems import Sizes, count

NAME: Final = "pyramid"
MOST_VERTICES: Final = 64


def class_systems(num_classes: int) -> Iterator[tuple[Sizes, tuple[Sizes, ...]]]:
    """Parts and classes of the systems that have so many classes: (1, s) are the faces of s vertices, with the apex.

    Where no class has the apex, its neuron is a constant that the others are compared with.

    >>> list(class_systems(5))
    [((1, 2), ((0, 1), (0, 2), (1, 1)))]
    """
    for vertices in range(2, min(max(2, num_classes // 2), MOST_VERTICES) + 1):
        centre, facets = (0, vertices), (0, vertices - 1)
        low, high = ((0, 1), (1, 1)), ((0, 2), (1, 2))
        kinds = [low, (*low, (0, 2)), high, (*high, centre), (*high, centre, (1, 0)), (*low, facets)]
        kinds += [(*low, facets, centre), ((0, 1), (0, 2), (0, 3)), ((0, 1), (0, 2), centre, (1, 0))]
        kinds += [((0, 1), facets, centre)]
        for kind in dict.fromkeys(tuple(sorted(kind)) for kind in kinds if len(set(kind)) == len(kind)):
            if max(size for _, size in kind) <= vertices and count((1, vertices), kind) == num_classes:
                yield (1, vertices), kind
