"""What there is to compare a solution with: zero, deep neural collapse, strongly regular graphs, and a lower bound.

All are functions of K, L, λ̄ and the widths; the matrices come with the problem's own decays and samples.
Source: Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS (arXiv 2405.14468).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import log
from typing import TypeVar

import torch

from analysis.dufm import catalogue
from analysis.dufm.families.network import zero_network
from analysis.dufm.families.registry import families
from analysis.dufm.families.triangular import (
    FEWEST_VERTICES,
    SHALLOWEST,
    Triangular,
    best_triangular,
    vertices_of,
)
from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.report import FamilyReference, References, SrgReference
from analysis.dufm.shrinkage import collapse, shrink
from analysis.dufm.solution import Solution, UndefinedReference

Value = TypeVar("Value")

NO_MINIMUM = "with a decay of 0 the infimum of the loss is 0 and no solution attains it"
SQUARED_ERROR_ONLY = "defined for the squared error (loss mse) only"
"""Reasons."""


def references(problem: Problem, *, with_families: bool = False) -> References:
    """All of them; `reasons` says why one is null. with_families: those beyond the paper, too, which takes a while.

    >>> problem = Problem(num_classes=10, widths=(64,) * 4, weight_decays=(0.004,) * 4, feature_decay=0.004)
    >>> found = references(problem)
    >>> round(found.dnc, 7), round(found.srg.loss, 6), found.srg.subset_size
    (0.0991799, 0.080911, 3)
    """
    reasons: dict[str, str] = {}

    def value_of(name: str, compute: Callable[[], Value]) -> Value | None:
        try:
            return compute()
        except UndefinedReference as reason:
            reasons[name] = str(reason)
            return None

    return References(
        effective_decay=problem.effective_decay,
        zero=value_of("zero", lambda: zero(problem).loss),
        dnc=value_of("dnc", lambda: dnc(problem).loss),
        srg=value_of("srg", lambda: srg_reference(problem)),
        families=tuple(
            FamilyReference(family=found.name, loss=found.loss, rank=found.rank, width=max(found.widths))
            for found in (families(problem) if with_families else ())
        ),
        best_known=value_of("best_known", lambda: best_known(problem)),
        lower_bound=value_of("lower_bound", lambda: lower_bound(problem)),
        reasons=reasons,
    )


def solutions(problem: Problem, *, tick: Callable[[], None] = lambda: None) -> tuple[Solution, ...]:
    """Those of zero, DNC, SRG and the families that the problem has. tick: called in between; it may raise.

    >>> problem = Problem(num_classes=10, widths=(64,) * 4, weight_decays=(0.004,) * 4, feature_decay=0.004)
    >>> [solution.name for solution in solutions(problem)]
    ['zero', 'dnc', 'srg', 'simplex', 'pyramid']
    """
    found = []
    for find in (zero, dnc, srg):
        with suppress(UndefinedReference):
            found.append(find(problem))
    return (*found, *families(problem, tick=tick))


def zero(problem: Problem) -> Solution:
    """All variables 0: loss 1/2, or log K with cross-entropy. A decay of 0 does not change that.

    >>> zero(Problem(num_classes=2, widths=(4,), weight_decays=(0.1,), feature_decay=0.1)).loss
    0.5
    """
    loss = 0.5 if problem.loss == "mse" else log(problem.num_classes)
    return Solution(name="zero", problem=problem, loss=loss, rank=0, widths=(0,) * problem.depth, build=_zeros(problem))


def dnc(problem: Problem) -> Solution:
    """Deep neural collapse: orthogonal frames in all layers, the best of these.

    L_DNC = min_{s ≥ 0} ½(1 − s)² + K (L+1)/2 λ̄ s^(2/(L+1)):  H_1, W_1 … W_L = s^(1/(L+1)) I_K, the same scalar
    problem for each class. s = 0, of loss 1/2, is among these: where no s > 0 is better, the solution is zero and of
    rank 0. The ReLU does nothing to these matrices: a linear model has them, too, and they are its optimum.

    Raises UndefinedReference for cross-entropy, for a decay of 0, and where a layer has fewer than K neurons.

    >>> problem = Problem(num_classes=10, widths=(10,) * 4, weight_decays=(0.004,) * 4, feature_decay=0.004)
    >>> round(dnc(problem).loss, 7), dnc(problem).rank
    (0.0991799, 10)
    """
    _require_minimum(problem)
    size = problem.num_classes
    if min(problem.widths) < size:
        raise UndefinedReference(
            f"orthogonal class means need {size} neurons in every layer, the narrowest has {min(problem.widths)}"
        )
    s, loss = collapse(problem)
    if s == 0:
        return Solution("dnc", problem, loss, rank=0, widths=(0,) * problem.depth, build=_zeros(problem))

    def build() -> Variables:
        frame = (s ** (1 / (problem.depth + 1)) * torch.eye(size, dtype=torch.float64))[None]
        return Variables(frame, (frame,) * problem.depth)

    return Solution("dnc", problem, loss, rank=size, widths=(size,) * problem.depth, build=build)


def srg(problem: Problem) -> Solution:
    """The best solution with the symmetry of the complete graph on r vertices, K = r(r−1)/2, its edges the classes.

    Layers up to the last hidden one have a neuron for each vertex, that one for each set of s vertices; the best s that
    fits, or mixture of two. Where no such solution is better than zero it is zero, of loss 1/2 and rank 0.

    Raises UndefinedReference where K is not r(r−1)/2 with r ≥ 4, for L < 3, linear models, cross-entropy, a decay of
    0, and layers that are too narrow.
    """
    found = _triangular(problem)
    return Solution(
        name="srg",
        problem=problem,
        loss=found.loss,
        rank=found.network.rank,
        widths=found.network.widths,
        build=lambda: found.network.variables,
    )


def srg_reference(problem: Problem) -> SrgReference:
    """What a report says of it; raises as `srg` does."""
    found = _triangular(problem)
    return SrgReference(
        loss=found.loss,
        vertices=found.vertices,
        subset_size=found.subset_sizes[0] if len(found.subset_sizes) == 1 else None,
        subset_sizes=found.subset_sizes,
        width=max(found.network.widths),
    )


def lower_bound(problem: Problem) -> float:
    """A loss that no solution lies below: min_{0 ≤ s ≤ 1} ½(1 − s)² + (L+1)/2 λ̄ (K s)^(2/(L+1)).

    Proof, for the reduced problem with output Z. ‖AB‖_* ≤ ‖A‖_F ‖B‖_F and ‖σ(X)‖_F ≤ ‖X‖_F ≤ ‖X‖_* give, layer by
    layer, ‖Z‖_* ≤ Π_l ‖W_l‖_F · ‖H_1‖_F; by the inequality of the means the regularization is at least
    (L+1)/2 λ̄ ‖Z‖_*^(2/(L+1)). With s = ‖Z‖_*/K the fit is at least 1/(2K) Σ_i (1 − σ_i(Z))² ≥ ½(1 − s)² (von Neumann,
    Jensen), and s > 1 is never better than 1.

    Linear models have an exact one, as depth 1 has: a product Z of L + 1 factors costs (L+1)/2 λ̄ Σ_i σ_i(Z)^(2/(L+1))
    at least, attained (the variational form of the Schatten quasi-norm), so that each singular value is a problem of
    its own, which `dnc` solves; the narrowest layer, d, allows d of them: ½ − min(d, K)/K · (½ − L_DNC).

    With a decay of 0 the bound is 0, the infimum. Raises UndefinedReference for cross-entropy.

    >>> problem = Problem(num_classes=10, widths=(10,) * 4, weight_decays=(0.004,) * 4, feature_decay=0.004)
    >>> round(lower_bound(problem), 7)
    0.0250681
    """
    if problem.loss != "mse":
        raise UndefinedReference(SQUARED_ERROR_ONLY)
    power = problem.depth + 1
    if problem.activation == "linear" or problem.depth == 1:
        share = min(1.0, min(problem.widths) / problem.num_classes)
        return (1 - share) * 0.5 + share * collapse(problem)[1]  # in this form, exactly L_DNC at full width
    cost = power / 2 * problem.effective_decay * problem.num_classes ** (2 / power)
    return shrink(cost, 2 / power)[1]


def best_known(problem: Problem) -> float:
    """The loss in the catalogue of optima.

    Raises UndefinedReference where the catalogue has no entry, or one of a solution that does not fit into the widths.
    """
    _require_relu(problem)
    _require_minimum(problem)
    entry = catalogue.find(problem.num_classes, problem.depth, problem.effective_decay)
    if entry is None:
        raise UndefinedReference(
            f"the catalogue has no entry for K = {problem.num_classes}, L = {problem.depth}, "
            f"λ̄ = {problem.effective_decay:.6g}"
        )
    if any(width < needed for width, needed in zip(problem.widths, entry.widths, strict=True)):
        raise UndefinedReference(f"the catalogue's solution needs layers of {entry.widths} neurons")
    return entry.loss


def _zeros(problem: Problem) -> Callable[[], Variables]:
    return lambda: zero_network(problem.num_classes, problem.depth).variables


def _triangular(problem: Problem) -> Triangular:
    _require_relu(problem)
    _require_minimum(problem)
    vertices = vertices_of(problem.num_classes)
    if vertices is None or vertices < FEWEST_VERTICES:
        raise UndefinedReference(
            f"K = {problem.num_classes} is not r(r−1)/2, the number of edges of a complete graph, for an r of at least "
            f"{FEWEST_VERTICES}"
        )
    if problem.depth < SHALLOWEST:
        raise UndefinedReference(
            f"vertices need a hidden layer before the last: L is {problem.depth}, at least {SHALLOWEST}"
        )
    if min(problem.widths) < vertices:
        raise UndefinedReference(
            f"there is a neuron for each of {vertices} vertices, the narrowest layer has {min(problem.widths)}"
        )
    reduced = problem.reduced
    return best_triangular(vertices, problem.depth, reduced.feature_decay, problem.widths[-1])


def _require_minimum(problem: Problem) -> None:
    if problem.loss != "mse":
        raise UndefinedReference(SQUARED_ERROR_ONLY)
    if problem.effective_decay == 0:
        raise UndefinedReference(NO_MINIMUM)


def _require_relu(problem: Problem) -> None:
    if problem.activation != "relu":
        raise UndefinedReference("needs a ReLU; the optimum of a linear model is deep neural collapse")
