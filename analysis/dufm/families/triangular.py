"""Strongly regular graphs: the classes are the edges of a complete graph on r vertices; S_r acts on everything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb, isqrt
from typing import Final

from analysis.dufm.families.equivariant import Equivariant, Point
from analysis.dufm.families.minimum import least, polish
from analysis.dufm.families.network import Network, trim
from analysis.dufm.families.set_systems import SetSystem, subsets
from analysis.dufm.families.stretched import Stretched

FEWEST_VERTICES: Final = 4
"""With 3 vertices there are 3 edges, and no rank is saved."""
SHALLOWEST: Final = 3
"""Vertices need a layer before the one of subsets."""
CORE_DEPTH: Final = 4
"""Deeper networks are a network of this depth, stretched: with one layer from vertices to vertices to vary."""


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
    alone = [_Candidate.of(vertices, depth, decay, (size,)) for size in sizes]
    best = min(alone, key=lambda candidate: candidate.loss)
    if best.loss < 0.5:
        (size,) = best.sizes
        pairs = [(size - 1, size), (size, size + 1)]
        fitting = [pair for pair in pairs if set(pair) <= set(sizes) and _count(vertices, pair) <= last_width]
        mixed = [_Candidate.of(vertices, depth, decay, pair) for pair in fitting]
        # A mixture in which one size has died out is the other size alone, up to rounding.
        mixed = [candidate for candidate in mixed if candidate.loss < best.loss * (1 - 1e-9)]
        best = min([best, *mixed], key=lambda candidate: candidate.loss)
    return best.solve()


def _count(vertices: int, sizes: tuple[int, ...]) -> int:
    return sum(comb(vertices, size) for size in sizes)


@dataclass(frozen=True)
class _Candidate:
    """The best for these sizes of subsets, among stretched networks."""

    system: SetSystem
    sizes: tuple[int, ...]
    depth: int
    problem: Stretched
    point: Point
    loss: float

    @classmethod
    def of(cls, vertices: int, depth: int, decay: float, sizes: tuple[int, ...]) -> _Candidate:
        system = SetSystem((vertices,), ((2,),), tuple((size,) for size in sizes))
        core_depth = min(depth, CORE_DEPTH)
        problem = Stretched(Equivariant(system.symmetry(core_depth), decay), depth - core_depth)
        return cls(system, sizes, depth, problem, *least(problem, [problem.begin(start) for start in system.starts()]))

    def solve(self) -> Triangular:
        """As a network; where stretching costs something, which is rare, with all layers free."""
        decay, network = self.problem.decay, self.problem.network(self.point)
        if self.loss < 0.5 and not self.problem.is_exact(self.point):
            deep = Equivariant(self.system.symmetry(self.depth), decay)
            network = Network.of(deep, polish(deep, deep.project([network.features, *network.weights]))[0])
        network, alive = trim(network, decay)
        left = subsets(self.system.parts, self.system.neurons).sum(axis=1)[alive]
        (vertices,) = self.system.parts
        return Triangular(vertices, tuple(sorted({int(size) for size in left})), network, network.loss(decay))
