"""A triangle and two more vertices, of which only one carries classes: nine of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from analysis.dufm.families.set_systems import Sizes

NAME: Final = "double_pyramid"


def class_systems(num_classes: int) -> Iterator[tuple[Sizes, tuple[Sizes, ...]]]:
    """Parts and classes: the vertices and edges of the triangle, and the edges to one apex; the other is a constant.

    >>> list(class_systems(9))
    [((1, 1, 3), ((0, 0, 1), (0, 0, 2), (0, 1, 1)))]
    """
    if num_classes == 9:
        yield (1, 1, 3), ((0, 0, 1), (0, 0, 2), (0, 1, 1))
