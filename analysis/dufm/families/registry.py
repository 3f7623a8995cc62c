"""Every family beyond the paper's, and the best solution of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from analysis.dufm.families import double_pyramid, pyramid, simplex
from analysis.dufm.families.equivariant import Equivariant
from analysis.dufm.families.minimum import begin, descend, polish
from analysis.dufm.families.network import Network, trim
from analysis.dufm.families.set_systems import SetSystem, Sizes, all_sizes
from analysis.dufm.problem import Problem
from analysis.dufm.shrinkage import collapse
from analysis.dufm.solution import Solution

ClassSystems = Callable[[int], Iterator[tuple[Sizes, tuple[Sizes, ...]]]]

FAMILIES: Final[dict[str, ClassSystems]] = {
    family.NAME: family.class_systems for family in (simplex, pyramid, double_pyramid)
}
"""By name: K → parts and classes. Each has, for some K ≤ 15, 3 ≤ L ≤ 7 and λ̄, the least loss of all references."""
SHALLOWEST: Final = 3
ATTEMPTS: Final = 3
"""Pieces that each start is polished on, besides its own: a family is a start, and a second is enough for it."""
ENOUGH: Final = 64
"""Neurons of the last hidden layer that are tried; for many classes 2K."""


def families(problem: Problem, *, tick: Callable[[], None] = lambda: None) -> tuple[Solution, ...]:
    """The best solution of each family that has one for this K, if it is better than zero and deep neural collapse.

    Only what fits into the widths counts, of the family and of deep neural collapse. None for L < 3, linear models,
    cross-entropy, or a decay of 0. tick: called before each family, which takes a second or two; it may raise.

    >>> problem = Problem(num_classes=10, widths=(64,) * 5, weight_decays=(0.004,) * 5, feature_decay=0.004)
    >>> [(found.name, round(found.loss, 6), found.rank) for found in families(problem)]
    [('simplex', 0.087932, 4), ('pyramid', 0.094514, 4)]
    """
    defined = problem.loss == "mse" and problem.activation == "relu" and problem.effective_decay > 0
    if not defined or problem.depth < SHALLOWEST:
        return ()
    least_width = min(problem.widths)
    bound = collapse(problem)[1] if least_width >= problem.num_classes else 0.5
    last_width = min(problem.widths[-1], max(ENOUGH, 2 * problem.num_classes))
    found = []
    for name in FAMILIES:
        tick()
        network = _best(name, problem.num_classes, problem.depth, problem.effective_decay, least_width, last_width)
        if network is not None and network.loss(problem.effective_decay) < bound:
            found.append(_solution(name, problem, network))
    return tuple(found)


@lru_cache(maxsize=256)
def _best(name: str, num_classes: int, depth: int, decay: float, width: int, last_width: int) -> Network | None:
    """Of the systems of a family, descended from their starts, the best is polished; None where zero is better."""
    candidates = []
    for parts, classes in FAMILIES[name](num_classes):
        neurons = all_sizes(parts, last_width)
        if sum(parts) <= width and neurons:
            system = SetSystem(parts, classes, neurons)
            problem = Equivariant(system.symmetry(depth), decay)
            descended = [descend(problem, begin(problem, start)) for start in system.starts()]
            candidates.append((problem, descended))
    if not candidates:
        return None
    best, points = min(candidates, key=lambda each: min(each[0].value_and_gradient(point)[0] for point in each[1]))
    point, _ = min((polish(best, point, attempts=ATTEMPTS) for point in points), key=lambda polished: polished[1])
    network, _ = trim(Network.of(best, point), decay)
    return network if network.widths[-1] else None


def _solution(name: str, problem: Problem, network: Network) -> Solution:
    loss = network.loss(problem.effective_decay)
    return Solution(name, problem, loss, network.rank, network.widths, lambda: network.variables)
