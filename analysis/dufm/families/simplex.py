"""Classes on several kinds of faces of a simplex: vertices, edges, triangles, facets, the centre."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from analysis.dufm.families.set_systems import Sizes, count

NAME: Final = "simplex"
MOST_VERTICES: Final = 64


def class_systems(num_classes: int) -> Iterator[tuple[Sizes, tuple[Sizes, ...]]]:
    """Parts and classes of the systems that have so many classes: r vertices, hidden layers of rank r.

    r(r+1)/2 classes are the vertices and edges; r = 4 for K = 10. Vertices alone are deep neural collapse, edges alone
    the strongly regular graph. With more than K/2 vertices little rank is saved, and nothing won.

    >>> list(class_systems(10))
    [((4,), ((1,), (2,))), ((5,), ((1,), (4,)))]
    """
    for vertices in range(3, min(max(4, num_classes // 2), MOST_VERTICES) + 1):
        centre, facets = vertices, vertices - 1
        kinds = [(1, 2), (1, 2, centre), (1, centre), (1, facets), (1, facets, centre), (2, centre), (1, 2, 3)]
        kinds += [(1, 2, 3, centre)]
        # In a triangle facets are edges, the centre is the triangle, and so on: each once.
        for sizes in dict.fromkeys(tuple(sorted(kind)) for kind in kinds if len(set(kind)) == len(kind)):
            classes = tuple((size,) for size in sizes if size <= vertices)
            if len(classes) == len(sizes) and count((vertices,), classes) == num_classes:
                yield (vertices,), classes
