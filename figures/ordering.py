"""An order of the classes in which those that are close stand together, so that blocks can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

LARGEST_ORDERED: Final = 256
"""Classes up to which they are ordered: more cannot be told apart in a figure."""
NO_ORDER: Final = ("simplex_etf", "orthogonal_frame")
"""Structures in which all classes are alike."""


def class_order(
    gram: Sequence[Sequence[float]], structure: Mapping[str, Any] | None, labels: Sequence[str]
) -> list[int]:
    """The classes' indices in an order that shows the structure of their means.

    Of a strongly regular graph, clique after clique, the largest first; without one, those classes stand together whose
    centred means have large cosines. In a simplex or a frame no order says more than another: it is that of the labels.

    >>> class_order([[1, 0, 0.9], [0, 1, 0], [0.9, 0, 1]], {"kind": "none", "edges": None}, ["0", "1", "2"])
    [0, 2, 1]
    """
    own = list(range(len(gram)))
    if structure is None or structure["kind"] in NO_ORDER or not 2 < len(gram) <= LARGEST_ORDERED:
        return own
    neighbours = _neighbours(structure.get("edges") or (), labels)
    if neighbours:
        return _cliques(neighbours)
    cosines = _cosines(np.asarray(gram, float))
    return own if cosines is None else _leaves(cosines)


def _neighbours(edges: Sequence[Sequence[int]], labels: Sequence[str]) -> list[set[int]]:
    """Of each class; nothing where an edge is not of these classes."""
    position = {label: index for index, label in enumerate(labels)}
    neighbours: list[set[int]] = [set() for _ in labels]
    for edge in edges:
        if any(str(label) not in position for label in edge):
            return []
        first, second = (position[str(label)] for label in edge)
        neighbours[first].add(second)
        neighbours[second].add(first)
    return neighbours if edges else []


def _cliques(neighbours: Sequence[set[int]]) -> list[int]:
    """One after the other, each the largest that is found greedily among the classes that are left."""
    left, order = set(range(len(neighbours))), list[int]()
    while left:
        largest = max((_clique(start, neighbours, left) for start in sorted(left)), key=len)
        order += sorted(largest)
        left -= largest
    return order


def _clique(start: int, neighbours: Sequence[set[int]], left: set[int]) -> set[int]:
    clique, candidates = {start}, neighbours[start] & left
    while candidates:
        following = max(sorted(candidates), key=lambda one: len(neighbours[one] & candidates))
        clique.add(following)
        candidates = candidates & neighbours[following]
    return clique


def _cosines(gram: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Of the means relative to the mean of all; None where one of them lies there."""
    centred = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
    squares = centred.diagonal()
    if not (squares > 1e-12 * max(squares.max(), 0.0)).all():
        return None
    norms = np.sqrt(squares)
    cosines: np.ndarray[Any, Any] = centred / norms / norms[:, None]
    return cosines


def _leaves(near: np.ndarray[Any, Any]) -> list[int]:
    """Join, again and again, the two groups that are closest on average, end to end where they are closest."""
    groups = {index: [index] for index in range(len(near))}
    between = near.astype(float)
    np.fill_diagonal(between, -np.inf)
    while len(groups) > 1:
        first, second = sorted(map(int, np.unravel_index(between.argmax(), between.shape)))
        sizes = len(groups[first]), len(groups[second])
        joined = (sizes[0] * between[first] + sizes[1] * between[second]) / sum(sizes)
        between[first], between[:, first] = joined, joined
        between[second], between[:, second] = -np.inf, -np.inf
        between[first, first] = -np.inf
        groups[first] = _joined(groups[first], groups.pop(second), near)
    return next(iter(groups.values()))


def _joined(first: list[int], second: list[int], near: np.ndarray[Any, Any]) -> list[int]:
    ways = [(one, two) for one in (first, first[::-1]) for two in (second, second[::-1])]
    one, two = max(ways, key=lambda way: near[way[0][-1], way[1][0]])
    return one + two
