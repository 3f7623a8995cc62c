"""Strongly regular graphs: whether a graph is one, and what it is called."""

from __future__ import annotations

from math import isqrt

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from analysis.structure_report import GraphParameters

Adjacency = Bool[Tensor, "classes classes"]
Quadruple = tuple[int, int, int, int]

ONE_OF_A_KIND: dict[Quadruple, str] = {
    (5, 2, 0, 1): "pentagon",
    (10, 3, 0, 1): "Petersen graph, the complement of the triangular graph T(5)",
    (13, 6, 2, 3): "Paley graph of order 13",
    (16, 5, 0, 2): "Clebsch graph",
    (17, 8, 3, 4): "Paley graph of order 17",
}
"""Names of graphs that their parameters determine."""
CHANG = "Chang graph"


def graph_parameters(adjacency: Adjacency) -> GraphParameters | None:
    """(v, k, λ, μ) with A² = kI + λA + μ(J − I − A), in integers; None where the graph is not strongly regular.

    A is v × v, symmetric, with an empty diagonal. Neither the empty nor the complete graph counts; disjoint unions of
    complete graphs (μ = 0) and complete multipartite graphs (μ = k) do.

    Source: Brouwer, Van Maldeghem 2022, Strongly Regular Graphs, section 1.1.

    >>> square = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]], dtype=torch.bool)
    >>> graph_parameters(square)
    {'v': 4, 'k': 2, 'lambda': 0, 'mu': 2}
    """
    size = len(adjacency)
    degrees = adjacency.sum(dim=1)
    degree = int(degrees[0])
    if not 0 < degree < size - 1 or bool((degrees != degree).any()):
        return None
    # In float32: integers below 2²⁴ are exact, whatever the order of summation; there is no fast product of integers.
    ones = adjacency.to(torch.float32)
    common = ones @ ones
    neighbour = int(adjacency[0].nonzero()[0])
    stranger = int((~adjacency[0]).nonzero()[1])  # the first is vertex 0 itself
    shared, unshared = common[0, neighbour], common[0, stranger]
    if not torch.equal(common, torch.where(adjacency, shared, unshared).fill_diagonal_(degree)):
        return None
    return {"v": size, "k": degree, "lambda": int(shared), "mu": int(unshared)}


def graph_name(adjacency: Adjacency, parameters: GraphParameters) -> str:
    """What people call the strongly regular graph with this v × v adjacency and these parameters.

    Families: triangular graphs T(r), rook's graphs a × a, disjoint unions m K_n, complete multipartite graphs, some
    single graphs, and the complements of all these. Where several graphs share their parameters, the adjacency is
    looked at: of (28, 12, 6, 4) are T(8) and three Chang graphs, of (16, 6, 2, 2) the rook's graph and Shrikhande's.

    Source: Brouwer, Van Maldeghem 2022, Strongly Regular Graphs, sections 1.1 and 10; that nothing else shares those
    parameters was found by Chang 1959, Hoffman 1960 and Shrikhande 1959.

    >>> square = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]], dtype=torch.bool)
    >>> graph_name(square, {"v": 4, "k": 2, "lambda": 0, "mu": 2})
    'complete bipartite graph K_{2,2}'
    """
    v, k, lambda_, mu = parameters["v"], parameters["k"], parameters["lambda"], parameters["mu"]
    name = _family(adjacency, (v, k, lambda_, mu))
    if name:
        return name
    opposite = _family((~adjacency).fill_diagonal_(False), (v, v - k - 1, v - 2 * k + mu - 2, v - 2 * k + lambda_))
    if opposite:
        return f"complement of {'a' if opposite == CHANG else 'the'} {opposite}"
    return f"strongly regular graph ({v}, {k}, {lambda_}, {mu})"


def _family(adjacency: Adjacency, parameters: Quadruple) -> str | None:
    v, k, _, mu = parameters
    # T(4) is K_{2,2,2} besides, so triangular graphs come before multipartite ones.
    r = (1 + isqrt(1 + 8 * v)) // 2
    if r >= 4 and parameters == (r * (r - 1) // 2, 2 * (r - 2), r - 2, 4):
        triangular = r != 8 or _common_neighbours_hold_one_clique(adjacency, r - 3)
        return f"triangular graph T({r})" if triangular else CHANG
    if mu == 0:
        return f"disjoint union {v // (k + 1)} K_{k + 1}"
    if mu == k:
        part = v - k
        parts = ",".join([str(part)] * (v // part)) if v // part <= 4 else f"{v // part}×{part}"
        return f"complete {'bi' if v // part == 2 else 'multi'}partite graph K_{{{parts}}}"
    a = isqrt(v)
    if parameters == (a * a, 2 * (a - 1), a - 2, 2):
        rook = a != 4 or _common_neighbours_hold_one_clique(adjacency, a - 2)
        return f"rook's graph {a} × {a}" if rook else "Shrikhande graph"
    return ONE_OF_A_KIND.get(parameters)


def _common_neighbours_hold_one_clique(adjacency: Adjacency, size: int) -> bool:
    """Whether the common neighbours of every two adjacent vertices are a clique of this size, and others alone.

    In T(r): ab and ac have in common r − 3 further pairs with a, and bc. If that holds, every edge is in one clique of
    r − 1 vertices; of these each vertex is in two, there are r of them, and two of them share one vertex: T(r) indeed.
    In the rook's graph: two fields of a row have in common the rest of that row.
    """
    ones: Float64[Tensor, "classes classes"] = adjacency.to(torch.float64)
    first, second = adjacency.triu(1).nonzero().unbind(dim=1)
    common = ones[first] * ones[second]
    degrees = (common @ ones) * common
    in_clique = (degrees == size - 1) & (common > 0)
    # Only the two together: `size` vertices may have the clique's degree through edges to the others.
    return bool((in_clique.sum(dim=1) == size).all()) and bool((degrees.sum(dim=1) == size * (size - 1)).all())
