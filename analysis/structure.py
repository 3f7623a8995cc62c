"""What the class means of a layer look like: orthogonal frame, simplex, strongly regular graph, or none of them.

A frame and a simplex have one angle between class means. With more layers and classes, lower ranks become cheaper, and
training finds forms with two angles: class means indexed by the edges of a complete graph, close where two edges share
a vertex (Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS). Their Gram matrix lies in the
algebra span{I, A, J − I − A} of a strongly regular graph, which is what is looked for here, whatever the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.class_means import EPSILON, Gram, finite
from analysis.errors import UndefinedMetric
from analysis.strongly_regular import Adjacency, graph_name, graph_parameters
from analysis.structure_report import GraphParameters, Ideal, Structure

LARGEST_STRUCTURE = 1024
"""Classes up to which a structure is looked for: a third of a second."""
LARGEST_LISTED_GRAPH = 64
"""Classes up to which the edges are listed: at most 2016."""
SMALLEST_GRAPH = 4
"""Vertices of the smallest strongly regular graphs, 2 K_2 and the square."""
ROUNDING = sqrt(EPSILON)
"""Cosines closer together than this are one: what splits them is rounding, in the features if not here."""

SPECIFIC_FIRST: Final[tuple[Ideal, ...]] = ("orthogonal_frame", "simplex_etf", "strongly_regular_graph")
"""A centred frame is a simplex, and a simplex is in the algebra of every strongly regular graph."""
NAMES: Final[dict[Ideal, str]] = {
    "orthogonal_frame": "orthogonal frame",
    "simplex_etf": "simplex equiangular tight frame",
}


class _Graph(NamedTuple):
    adjacency: Adjacency
    parameters: GraphParameters
    distance: float


def find_structure(gram: Gram, centered_gram: Gram, labels: Sequence[int], tolerance: float = 0.1) -> Structure:
    """The most specific form within the tolerance, and the distance to every form that was tried.

    gram is MMᵀ (K × K), centered_gram M̄M̄ᵀ with M̄ = M − the unweighted mean of its rows, labels those of the classes,
    in the same order. With G scaled to norm 1, distances are, in Frobenius norm:

    - orthogonal frame: ‖MMᵀ − I/√K‖
    - simplex: ‖M̄M̄ᵀ − (I − 11ᵀ/K)/√(K−1)‖
    - strongly regular graph: ‖M̄M̄ᵀ − P/‖P‖‖, P the orthogonal projection of M̄M̄ᵀ on span{I, A, J − I − A}

    A joins the classes with the larger cosine: the exact split of the cosines between centred class means into two
    clusters of least sum of squares. Where that is no strongly regular graph, though one could be within the tolerance,
    the eigenvalues are split likewise first. With K < 4, with a class mean on the mean of all, and where no strongly
    regular A is found, there is no distance to a graph.

    More specific than a simplex is a frame (unless MMᵀ itself is nearer to the simplex), and than a graph a simplex.

    Raises UndefinedMetric: one_class, structure_too_large (K > 1024), overflow, zero_gram, identical_class_means.

    Sources: Papyan, Han, Donoho 2020 (simplex); Tirer, Bruna 2022 (frame); Súkeník, Lampert, Mondelli 2024 (graphs).

    >>> turn = 2 * torch.pi * torch.arange(5, dtype=torch.float64) / 5
    >>> pentagon = torch.stack([turn.cos(), turn.sin()], dim=1)
    >>> found = find_structure(pentagon @ pentagon.T, pentagon @ pentagon.T, labels=[0, 1, 2, 3, 4])
    >>> found.kind, found.name, found.parameters
    ('strongly_regular_graph', 'pentagon', {'v': 5, 'k': 2, 'lambda': 0, 'mu': 1})
    >>> found.edges
    ((0, 1), (0, 4), (1, 2), (2, 3), (3, 4))
    >>> round(found.distance, 9), round(found.distances["simplex_etf"], 2)
    (0.0, 0.77)
    """
    size = len(gram)
    if size < 2:
        raise UndefinedMetric("one_class", "all samples are of one class: send samples of two classes or more")
    if size > LARGEST_STRUCTURE:
        raise UndefinedMetric(
            "structure_too_large",
            f"a structure is looked for among up to {LARGEST_STRUCTURE} class means, and there are {size}: use the "
            "distances to the simplex and the orthogonal frame",
        )
    # No accelerator is faster at a few matrices of this size, sorted.
    gram, centered_gram = (finite(given, "the inner products").cpu() for given in (gram, centered_gram))
    if not bool(gram.any()):
        raise UndefinedMetric("zero_gram", "the inner products are all zero and have no shape: send another layer")
    if not bool(centered_gram.any()):
        raise UndefinedMetric(
            "identical_class_means", "all class means coincide: check that the layer carries its input at all"
        )

    uncentered, centered = _scaled(gram), _scaled(centered_gram)
    distances: dict[Ideal, float] = {
        "orthogonal_frame": _distance_to_frame(uncentered),
        "simplex_etf": _distance_to_simplex(centered),
    }
    graph = None
    if size >= SMALLEST_GRAPH and _have_angles(gram, centered_gram):
        # A simplex within the tolerance comes before any graph: no need to look for one behind the noise.
        graph = _find_graph(centered, tolerance, thorough=min(distances.values()) > tolerance)
    if graph:
        distances["strongly_regular_graph"] = graph.distance

    within = [ideal for ideal in SPECIFIC_FIRST if distances.get(ideal, torch.inf) <= tolerance]
    # A simplex is only about 1/√K from the frame: from K = 100 on it would be called one with the default tolerance.
    if "simplex_etf" in within and _distance_to_simplex(uncentered) < distances["orthogonal_frame"]:
        within = [ideal for ideal in within if ideal != "orthogonal_frame"]
    kind = next(iter(within), None)
    nearest = kind or min(distances.items(), key=lambda item: item[1])[0]
    named = graph if kind == "strongly_regular_graph" else None
    return Structure(
        kind=kind or "none",
        name=graph_name(named.adjacency, named.parameters) if named else kind and NAMES[kind],
        parameters=named.parameters if named else None,
        distance=distances[nearest],
        nearest=nearest,
        distances=distances,
        edges=_edges(named.adjacency, labels) if named and size <= LARGEST_LISTED_GRAPH else None,
        tolerance=tolerance,
    )


def _scaled(gram: Gram) -> Gram:
    """The symmetric part, with norm 1.

    By the largest entry first: the squares of the norm neither overflow nor vanish. A product MMᵀ need not be symmetric
    to the last digit, and the two cosines of a pair must not fall on two sides of a split.
    """
    scaled: Tensor = gram / gram.abs().max()
    scaled = (scaled + scaled.T) / 2
    scaled /= scaled.norm()
    return scaled


def _distance_to_frame(scaled: Gram) -> float:
    difference = scaled.clone()
    difference.diagonal().sub_(1 / sqrt(len(scaled)))
    return float(difference.norm())


def _distance_to_simplex(scaled: Gram) -> float:
    size = len(scaled)
    difference = scaled + 1 / (size * sqrt(size - 1))
    difference.diagonal().sub_(1 / sqrt(size - 1))
    return float(difference.norm())


def _have_angles(gram: Gram, centered_gram: Gram) -> bool:
    """Whether every class mean is off the mean of all, by more than float64 can tell."""
    scale = max(float(gram.diagonal().max()), float(centered_gram.diagonal().max()))
    return float(centered_gram.diagonal().min()) > (4 * EPSILON) ** 2 * scale


def _find_graph(centered: Gram, tolerance: float, *, thorough: bool) -> _Graph | None:
    """The strongly regular graph that the cosines show; if thorough and it can be near, also behind noise."""
    norms = centered.diagonal().sqrt()
    cosines = centered / (norms[:, None] * norms)
    graph = _fit(centered, _larger_cosines(cosines))
    if (graph and graph.distance <= tolerance) or not thorough or _least_distance(centered) > tolerance:
        return graph
    hidden = _fit(centered, _larger_cosines_behind_noise(cosines))
    return min((found for found in (graph, hidden) if found), key=lambda found: found.distance, default=None)


def _fit(centered: Gram, adjacency: Adjacency | None) -> _Graph | None:
    parameters = None if adjacency is None else graph_parameters(adjacency)
    if adjacency is None or parameters is None:
        return None
    size, degree = parameters["v"], parameters["k"]
    diagonal, total = centered.diagonal().sum(), centered.sum()
    adjacent = torch.where(adjacency, centered, 0).sum()
    ideal = torch.where(
        adjacency, adjacent / (size * degree), (total - diagonal - adjacent) / (size * (size - 1 - degree))
    )
    ideal.diagonal().fill_(diagonal / size)
    return _Graph(adjacency, parameters, float((centered - ideal / ideal.norm()).norm()))


def _larger_cosines(cosines: Gram) -> Adjacency | None:
    """The pairs in the upper cluster of the best split in two; None where all cosines are the same."""
    ordered = _sorted(_pairs(cosines))
    if float(ordered[-1] - ordered[0]) <= ROUNDING:
        return None
    adjacency: Adjacency = cosines > ordered[_split_gains(ordered).argmax()]
    return adjacency.fill_diagonal_(False)


def _larger_cosines_behind_noise(cosines: Gram) -> Adjacency | None:
    """The same, where noise spreads the two cosines until they overlap; None where no graph comes out.

    A Gram matrix in the algebra has two eigenvalues (and 0, for the mean), and the projector on the eigenspace of the
    larger one is in the algebra, too, with the larger entries at the same pairs. Independent noise in K² entries
    is spread over K directions, of which the projector drops the noise within each eigenspace. Then a regular graph is
    asked for: one degree for all classes, but each class with a threshold of its own, that of the best split of all
    rows with the same number of neighbours.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(cosines)
    # Without the smallest: that is the 0 of the direction which centring removed.
    below = 1 + int(_split_gains(eigenvalues[1:]).argmax()) + 1
    upper = eigenvectors[:, below:]
    projector = upper @ upper.T
    projector.fill_diagonal_(-torch.inf)
    ordered = _sorted(projector)[:, 1:]
    threshold = ordered[:, _split_gains(ordered).sum(dim=0).argmax()]
    adjacency: Adjacency = projector > threshold[:, None]
    # Two classes of which one alone counts the other as a neighbour: not a graph.
    return adjacency if torch.equal(adjacency, adjacency.T) else None


def _least_distance(centered: Gram) -> float:
    """A bound below the distance to any graph: to the nearest matrix with one diagonal value and two others.

    The two values are those of the best split of the entries. Between matrices of norm 1 with an angle of sine s the
    distance is 2 sin(arcsin(s)/2) = √(2 − 2√(1 − s²)).
    """
    diagonal, pairs = centered.diagonal(), _sorted(_pairs(centered))
    left = float((pairs - pairs.mean()).square().sum() - _split_gains(pairs).max())
    sine_squared = float((diagonal - diagonal.mean()).square().sum()) + 2 * left
    return sqrt(2 - 2 * sqrt(1 - min(max(sine_squared, 0.0), 1.0)))


def _split_gains(ordered: Float64[Tensor, "*rows values"]) -> Float64[Tensor, "*rows splits"]:
    """By how much a split after 1, …, n − 1 of n ascending values lowers their sum of squares about the mean.

    With s the sum of the n₁ values below, relative to the mean of all: s²/n₁ + s²/(n − n₁). About the mean of all the
    two sums are opposite, so that nothing cancels.
    """
    count = ordered.shape[-1]
    below = torch.arange(1, count, dtype=ordered.dtype)
    sums = (ordered - ordered.mean(dim=-1, keepdim=True)).cumsum(dim=-1)[..., :-1]
    return sums.square() * (1 / below + 1 / (count - below))


def _pairs(matrix: Gram) -> Float64[Tensor, " pairs"]:
    return matrix[torch.ones(matrix.shape, dtype=torch.bool).triu(1)]


def _sorted(values: Float64[Tensor, "*rows values"]) -> Float64[Tensor, "*rows values"]:
    # numpy's sort is vectorised: 500 000 values in a fifth of torch's time.
    return torch.from_numpy(np.sort(values.numpy(), axis=-1))


def _edges(adjacency: Adjacency, labels: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((labels[i], labels[j]) for i, j in adjacency.triu(1).nonzero().tolist())
