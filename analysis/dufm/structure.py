"""What kind of solution a run has ended in: zero, DNC, SRG, low rank, or none of these; and the ranks of its layers.

Everything is read off the Gram matrices of the class means, of norm 1 or relative to the largest singular value: no
order of classes or neurons, no splitting of a neuron into parts, and no factor moved from one layer to another makes
a difference.
"""

from __future__ import annotations

from math import isqrt, log
from typing import Final

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from analysis.dufm.model import Losses, Variables, class_means, layer_matrices, losses
from analysis.dufm.problem import Problem
from analysis.dufm.report import SolutionStructure
from analysis.strongly_regular import Adjacency, graph_name, graph_parameters

RANK_TOLERANCE: Final = 1e-3
"""A singular value counts towards a rank above this share of the largest one."""
VANISHED: Final = 1e-10
"""A layer whose largest singular value is no larger is zero: outputs are compared with targets of norm 1."""
GRAM_TOLERANCE: Final = 1e-2
"""Distance, in Frobenius norm, from a Gram matrix of norm 1 to the ideal, up to which it has that form."""
SRG_TOLERANCE: Final = 5e-2
"""The same for the strongly regular graph: gradient descent comes close to its kinks, and not onto them, for long."""
WITHIN_TOLERANCE: Final = 1e-2
"""Share of a layer's energy that may lie within the classes where these are said to have collapsed."""
ZERO_TOLERANCE: Final = 1e-6
"""Share of the zero solution's loss by which regularization and fit may differ from those of the zero solution."""

Gram = Float64[Tensor, "classes classes"]


def ranks(problem: Problem, variables: Variables) -> dict[str, int]:
    """The rank of each layer's class means (d × K), of one run.

    #{k : s_k > 1e-3 · s_1}; 0 for a layer of zeros (s_1 ≤ 1e-10), and for all layers of a zero solution, where what is
    left is rounding and has no rank.

    >>> problem = Problem(num_classes=2, widths=(2, 2), weight_decays=(0.1, 0.1), feature_decay=0.1)
    >>> eye = torch.eye(2)[None]
    >>> ranks(problem, Variables(eye, (eye.new_ones(1, 2, 2), eye)))
    {'H_1': 2, 'H_2': 1, 'relu(H_2)': 1, 'output': 1}
    """
    zero = is_zero(problem, variables)
    matrices = layer_matrices(problem, _of_one_run(variables))
    return {
        name: 0 if zero else int(count_ranks(torch.linalg.svdvals(class_means(problem, matrix))))
        for name, matrix in matrices.items()
    }


def count_ranks(singular_values: Float[Tensor, "runs values"]) -> Int[Tensor, " runs"]:
    """#{k : s_k > 1e-3 · s_1} of each row of singular values, largest first; 0 where s_1 ≤ 1e-10."""
    largest = singular_values[:, :1]
    return ((singular_values > RANK_TOLERANCE * largest) & (largest > VANISHED)).sum(dim=1)


def classify(problem: Problem, variables: Variables) -> SolutionStructure:
    """The kind of solution that one run is; the first of these whose test it passes.

    zero: the output is 0, and so is the regularization: `is_zero`.
    dnc (deep neural collapse): the samples of a class coincide, and the class means are an orthogonal frame in every
        σ(M_l), l = 2 … L (in M_1 where L = 1): Gram matrix ∝ I. With cross-entropy, for which outputs count up to a
        constant, what lies between an orthogonal frame and a simplex is deep neural collapse, too: Gram matrix
        ∝ I + b·11ᵀ. Of M_1 with L ≥ 2 equal norms and no positive inner products are enough: ‖W_1‖² + ‖H_1‖²
        ≥ 2‖M_2‖_*, and ‖M_2‖_* is the same for every positive semi-definite M_2 of one diagonal, so that all with
        off-diagonal entries ≤ 0, which the ReLU takes away, are equally good; M_1ᵀM_1 is then proportional to M_2.
    srg (strongly regular graph): K = r(r−1)/2 with r ≥ 4, L ≥ 3, the samples of a class coincide, and the classes are
        the edges of one and the same complete graph on r vertices in σ(M_l), l = 2 … L − 1: Gram matrix ∝ 2 on the
        diagonal, 1 for edges that share a vertex, 0 for those that do not.
    low_rank: some M_l, l = 2 … L (M_1 where L = 1), has rank below K; with cross-entropy, below the simplex's K − 1.
    other: anything else, such as a run that is still on its way.

    Sources: Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS (definitions 3 and 5);
    Garrod, Keating 2025, NeurIPS (cross-entropy).

    >>> problem = Problem(num_classes=2, widths=(2, 2), weight_decays=(0.1, 0.1), feature_decay=0.1)
    >>> eye = torch.eye(2)[None]
    >>> classify(problem, Variables(eye, (eye, eye)))
    'dnc'
    """
    if is_zero(problem, variables):
        return "zero"
    matrices = layer_matrices(problem, _of_one_run(variables))
    collapsed = all(_collapsed(problem, matrix) for matrix in matrices.values())
    grams = {name: _gram(class_means(problem, matrix)[0]) for name, matrix in matrices.items()}
    if collapsed and _is_dnc(problem, grams):
        return "dnc"
    if collapsed and _is_srg(problem, grams):
        return "srg"
    full = problem.num_classes - (problem.loss == "cross_entropy")
    found = ranks(problem, variables)
    hidden = [found[f"H_{index}"] for index in range(2, problem.depth + 1)] or [found["H_1"]]
    return "low_rank" if min(hidden) < full else "other"


def is_zero(problem: Problem, variables: Variables) -> bool:
    """Whether one run is the zero solution: fit within 1e-6 of that of output 0, and the regularization as small."""
    return bool(are_zero(problem, losses(problem, _of_one_run(variables))).item())


def are_zero(problem: Problem, found: Losses, *, tolerance: float = ZERO_TOLERANCE) -> Bool[Tensor, " runs"]:
    """The same of the losses of a batch of runs."""
    zero = zero_loss(problem)
    return ((found.fit - zero).abs() <= tolerance * zero) & (found.regularization <= tolerance * zero)


def zero_loss(problem: Problem) -> float:
    """The loss where all variables are 0: 1/2, or log K of cross-entropy."""
    return 0.5 if problem.loss == "mse" else log(problem.num_classes)


def triangular_root(num_classes: int) -> int | None:
    """The r of K = r(r−1)/2; None where K is no such number.

    >>> triangular_root(10), triangular_root(11)
    (5, None)
    """
    root = (1 + isqrt(1 + 8 * num_classes)) // 2
    return root if root * (root - 1) == 2 * num_classes else None


def _of_one_run(variables: Variables) -> Variables:
    """The same in float64, on the CPU: a few small matrices."""
    if len(variables.features) != 1:
        raise ValueError(f"one run at a time, not {len(variables.features)}: take variables.run(index)")
    features, *weights = (tensor.to(device="cpu", dtype=torch.float64) for tensor in variables.tensors)
    return Variables(features, tuple(weights))


def _gram(means: Float64[Tensor, "d classes"]) -> Gram:
    """MᵀM over its norm; zeros of zeros. By the largest entry first, so that squares neither overflow nor vanish."""
    scaled = means / means.abs().max().clamp(min=VANISHED)
    gram: Tensor = scaled.T @ scaled
    normed: Tensor = gram / gram.norm().clamp(min=VANISHED)
    return normed


def _collapsed(problem: Problem, matrix: Float64[Tensor, "1 d N"]) -> bool:
    means = class_means(problem, matrix).repeat_interleave(problem.samples_per_class, dim=2)
    return bool((matrix - means).square().sum() <= WITHIN_TOLERANCE * matrix.square().sum())


def _is_dnc(problem: Problem, grams: dict[str, Gram]) -> bool:
    form = _distance_to_frame if problem.loss == "mse" else _distance_to_equal_angles
    rectified = [grams[f"relu(H_{index})"] for index in range(2, problem.depth + 1)]
    first = form(grams["H_1"])
    if rectified:
        first = min(first, _distance_to_wide_angles(grams["H_1"]))
    return first <= GRAM_TOLERANCE and all(form(gram) <= GRAM_TOLERANCE for gram in rectified)


def _distance_to_frame(gram: Gram) -> float:
    """‖G − (tr G/K) I‖, G of norm 1: to the nearest multiple of I; infinite for zeros."""
    if not bool(gram.any()):
        return torch.inf
    return float((gram - gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)).norm())


def _distance_to_wide_angles(gram: Gram) -> float:
    """To the nearest matrix of one diagonal value and no positive entry off it, G of norm 1; infinite for zeros."""
    if not bool(gram.any()):
        return torch.inf
    difference = gram.clamp(min=0)
    difference.diagonal().copy_(gram.diagonal() - gram.diagonal().mean())
    return float(difference.norm())


def _distance_to_equal_angles(gram: Gram) -> float:
    """‖G − aI − b11ᵀ‖, G of norm 1: to the nearest such matrix; infinite where the class means coincide."""
    size, diagonal = len(gram), float(gram.trace()) / len(gram)
    between = float(gram.sum() - gram.trace()) / (size * (size - 1))
    if diagonal - between <= GRAM_TOLERANCE * diagonal:
        return torch.inf
    ideal = torch.full_like(gram, between).fill_diagonal_(diagonal)
    return float((gram - ideal).norm())


def _is_srg(problem: Problem, grams: dict[str, Gram]) -> bool:
    graphs = [_edge_graph(grams[f"relu(H_{index})"]) for index in range(2, problem.depth)]
    first = graphs[0] if graphs else None
    return first is not None and all(graph is not None and torch.equal(graph, first) for graph in graphs)


def _edge_graph(gram: Gram) -> Adjacency | None:
    """Which classes share a vertex, where G ∝ 2I + A of the edges of a complete graph; None where it is not."""
    size, root = len(gram), triangular_root(len(gram))
    if root is None or root < 4 or not bool(gram.any()):
        return None
    scaled = gram * (2 * size / gram.trace())
    adjacency: Adjacency = (scaled > 0.5).fill_diagonal_(False)
    ideal = adjacency.to(gram.dtype).fill_diagonal_(2.0)
    if float((gram - ideal / ideal.norm()).norm()) > SRG_TOLERANCE:
        return None
    parameters = graph_parameters(adjacency)
    # By name: with the parameters of T(8) there are other graphs, which are not the edges of anything.
    triangular = parameters is not None and graph_name(adjacency, parameters) == f"triangular graph T({root})"
    return adjacency if triangular else None
