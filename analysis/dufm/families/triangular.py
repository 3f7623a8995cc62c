"""Strongly regular graphs: the classes are the edges of a complete graph on r vertices; S_r acts on everything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb, isqrt
from typing import Final

from analysis.dufm.families.equivariant import Equivariant
from analysis.dufm.families.minimum import least
from analysis.dufm.families.network import Network, trim
from analysis.dufm.families.set_systems import SetSystem, subsets

FEWEST_VERTICES: Final = 4
"""With 3 vertices there are 3 edges, and no rank is saved."""
SHALLOWEST: Final = 3
"""Vertices need a layer before the one of subsets."""


@dataclass(frozen=True)
class Triangular:
    """The best solution of the family."""

    vertices: int
    subset_sizes: tuple[int, ...]
    """s of the neurons of the last hidden layer; none where zero is better than the family"""
    network: Network
    loss: float


def vertices_of(num_classes: int) -> int | None:
    """The r with K = r(r−1)/2, if there is one.

    >>> vertices_of(10), vertices_of(11)
    (5, None)
    """
    vertices = (1 + isqrt(1 + 8 * num_classes)) // 2
    return vertices if comb(vertices, 2) == num_classes else None


@lru_cache(maxsize=256)
def best_triangular(vertices: int, depth: int, decay: float, last_width: int) -> Triangular:
    """Over all sizes s of subsets that fit into the last hidden layer, and mixtures of the best with its neighbours.

    Layers 1 … L−1 have a neuron for each vertex, the last hidden one for each set of s vertices, 2 ≤ s < r. Raises
    ValueError where no size fits.
    """
    sizes = [size for size in range(2, vertices) if comb(vertices, size) <= last_width]
    if not sizes:
        raise ValueError(f"no subsets of {vertices} vertices fit into a layer of {last_width} neurons")
    alone = [_solve(vertices, depth, decay, (size,)) for size in sizes]
    best = min(alone, key=lambda found: found.loss)
    if not best.subset_sizes:
        return best
    (size,) = best.subset_sizes
    pairs = [(size - 1, size), (size, size + 1)]
    fitting = [pair for pair in pairs if set(pair) <= set(sizes) and _count(vertices, pair) <= last_width]
    mixed = [_solve(vertices, depth, decay, pair) for pair in fitting]
    # A mixture in which one size has died out is the other size alone, up to rounding.
    return min([best, *(found for found in mixed if found.loss < best.loss * (1 - 1e-9))], key=lambda found: found.loss)


def _count(vertices: int, sizes: tuple[int, ...]) -> int:
    return sum(comb(vertices, size) for size in sizes)


def _solve(vertices: int, depth: int, decay: float, sizes: tuple[int, ...]) -> Triangular:
    system = SetSystem((vertices,), ((2,),), tuple((size,) for size in sizes))
    problem = Equivariant(system.symmetry(depth), decay)
    network, alive = trim(Network.of(problem, least(problem, system.starts())[0]), decay)
    left = subsets(system.parts, system.neurons).sum(axis=1)[alive]
    return Triangular(vertices, tuple(sorted({int(size) for size in left})), network, network.loss(decay))
