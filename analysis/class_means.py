"""What follows from the class means alone, each quantity once, in float64.

A quantity that does not exist raises UndefinedMetric with the reason: metrics need not ask.
"""

from __future__ import annotations

from functools import cached_property
from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from analysis.distances import pairwise_squared_distances
from analysis.errors import UndefinedMetric
from analysis.singular_values import (
    Decomposition,
    decompose_rows,
    row_span,
    singular_values,
    without_null_direction,
)
from collapse_client.format.moments import Moments

EPSILON = torch.finfo(torch.float64).eps

Means = Float64[Tensor, "classes dim"]
Gram = Float64[Tensor, "classes classes"]
PerClass = Float64[Tensor, " classes"]
PerPair = Float64[Tensor, " pairs"]
Values = Float64[Tensor, " values"]

ClassWeighting = Literal["balanced", "sample"]
"""What counts alike in the mean of the class means and in Σ_B: every class, or every sample."""


def finite(values: Tensor, what: str) -> Tensor:
    """The values as they are; UndefinedMetric where float64 could not hold them."""
    if not bool(values.isfinite().all()):
        raise UndefinedMetric("overflow", f"{what} overflow float64: scale the features down")
    return values


class ClassMeans:
    """The class means of one layer and their geometry.

    μ_G = Σ_c p_c μ_c and Σ_B = Σ_c p_c (μ_c − μ_G)(μ_c − μ_G)ᵀ, with p_c = 1/K where classes are weighted "balanced",
    and p_c = n_c/N where "sample".
    """

    def __init__(
        self, moments: Moments, *, rank_tolerance: float, class_weighting: ClassWeighting = "balanced"
    ) -> None:
        self.moments = moments
        self.rank_tolerance = rank_tolerance
        self.class_weighting = class_weighting
        self.num_classes, self.dim = moments.shift.shape

    @cached_property
    def class_shares(self) -> PerClass:
        """p_c, the weight of each class; they sum up to 1."""
        counts = self.moments.counts.to(self.moments.shift.dtype)
        if self.class_weighting == "sample":
            return counts / counts.sum()
        return torch.full_like(counts, 1 / self.num_classes)

    @cached_property
    def class_means(self) -> Means:
        """M: rows μ_c."""
        return finite(self.moments.means, "the class means")

    @cached_property
    def class_mean_gram(self) -> Gram:
        """MMᵀ."""
        return finite(self.class_means @ self.class_means.T, "the inner products of the class means")

    @cached_property
    def class_mean_singular_values(self) -> Values:
        """Singular values of M, largest first."""
        values = singular_values(self.class_means, gram=lambda: self.class_mean_gram)
        return finite(values, "the singular values of the class means")

    @cached_property
    def centered_class_mean_singular_values(self) -> Values:
        """Singular values of M̄, largest first; that of the direction which centring takes out is 0 exactly."""
        if self.class_weighting == "balanced":
            values = self.decomposition.singular_values
        else:
            values = singular_values(without_null_direction(self.centered_class_means, null=self.class_shares))
        values = finite(values, "the singular values of the class means")
        return torch.nn.functional.pad(values, (0, min(self.num_classes, self.dim) - len(values)))

    @cached_property
    def relative_singular_values(self) -> Values:
        """Singular values of M over the largest one."""
        largest = self.class_mean_singular_values[0]
        if largest == 0:
            raise UndefinedMetric("zero_class_means", "all class means are zero: the layer is dead, send another one")
        return self.class_mean_singular_values / largest

    @cached_property
    def class_mean_condition_number(self) -> float:
        """s_1/s_K of M; not infinite."""
        values = self.relative_singular_values
        if self.dim < self.num_classes or float(values[-1]) <= EPSILON * self.dim:
            raise UndefinedMetric(
                "dependent_class_means",
                f"the K = {self.num_classes} class means in d = {self.dim} dimensions are linearly dependent: their "
                "condition number is infinite",
            )
        return 1 / float(values[-1])

    @property
    def class_mean_span(self) -> Float64[Tensor, "rank dim"]:
        """Orthonormal rows that span the class means, by the singular values above rank_tolerance · s_1."""
        values = self.class_mean_singular_values[self.relative_singular_values > self.rank_tolerance]
        return row_span(self.class_means, values, gram=lambda: self.class_mean_gram)

    @cached_property
    def resolution(self) -> float:
        """Distance below which float64 cannot tell two class means apart."""
        return 4 * EPSILON * float(self.class_means.norm(dim=1).max())

    @cached_property
    def evenly_centered_class_means(self) -> Means:
        """Rows μ_c minus the unweighted mean of the class means, however classes are weighted; not all of them zero."""
        if self.num_classes == 1:
            raise UndefinedMetric("one_class", "all samples are of one class: send samples of two classes or more")
        # Relative to a sample first: an offset common to all features cancels exactly.
        relative = (self.moments.shift - self.moments.shift[0]) + self.moments.offsets
        centered = finite(relative - relative.mean(dim=0), "the centred class means")
        if float(centered.norm()) <= self.resolution:
            raise UndefinedMetric(
                "identical_class_means", "all class means coincide: check that the layer carries its input at all"
            )
        return centered

    @cached_property
    def centered_class_means(self) -> Means:
        """M̄: rows μ_c − μ_G; not all of them zero."""
        if self.class_weighting == "balanced":
            return self.evenly_centered_class_means
        return self.evenly_centered_class_means - self.class_shares @ self.evenly_centered_class_means

    @cached_property
    def global_mean(self) -> Float64[Tensor, " dim"]:
        """μ_G."""
        return self.class_shares @ self.class_means

    @cached_property
    def between_class_rows(self) -> Means:
        """B with BᵀB/K = Σ_B: the rows of M̄ times √(K p_c)."""
        if self.class_weighting == "balanced":
            return self.centered_class_means
        return self.centered_class_means * (self.num_classes * self.class_shares).sqrt()[:, None]

    @cached_property
    def decomposition(self) -> Decomposition:
        """B = U S Vᵀ without the directions that are zero but for rounding: at most K − 1."""
        balanced = self.class_weighting == "balanced"
        gram = (lambda: self.centered_gram) if balanced else None
        return decompose_rows(self.between_class_rows, null=self.class_shares.sqrt(), gram=gram)

    @cached_property
    def centered_gram(self) -> Gram:
        """M̄M̄ᵀ."""
        return finite(self.centered_class_means @ self.centered_class_means.T, "the inner products of the class means")

    @cached_property
    def evenly_centered_gram(self) -> Gram:
        """The same of the evenly centred class means."""
        if self.class_weighting == "balanced":
            return self.centered_gram
        means = self.evenly_centered_class_means
        return finite(means @ means.T, "the inner products of the class means")

    @cached_property
    def centered_norms(self) -> PerClass:
        """‖μ_c − μ_G‖."""
        return finite(self.centered_class_means.norm(dim=1), "the norms of the class means")

    @cached_property
    def between_class_trace(self) -> float:
        """Between-class variance tr Σ_B = Σ_c p_c ‖μ_c − μ_G‖²; never zero."""
        trace = float(finite((self.class_shares * self.centered_norms.square()).sum(), "the between-class variance"))
        if trace == 0:
            raise UndefinedMetric("underflow", "the between-class variance underflows float64: scale the features up")
        return trace

    @property
    def pairs(self) -> Int64[Tensor, "2 pairs"]:
        """Indices i < j of every pair of classes."""
        return torch.triu_indices(self.num_classes, self.num_classes, offset=1, device=self.moments.counts.device)

    @cached_property
    def cosines(self) -> PerPair:
        """cos(μ_i − μ_G, μ_j − μ_G) for every pair i < j."""
        first, second = self.pairs
        return self.cosine_gram[first, second].clamp(-1, 1)

    @property
    def cosine_gram(self) -> Gram:
        """The same, K × K."""
        norms = self.norms_with_angles
        return self.centered_gram / norms[:, None] / norms

    @property
    def centered_directions(self) -> Means:
        """(μ_c − μ_G)/‖μ_c − μ_G‖."""
        return self.centered_class_means / self.norms_with_angles[:, None]

    @property
    def norms_with_angles(self) -> PerClass:
        """‖μ_c − μ_G‖; none of the class means lies on μ_G."""
        if float(self.centered_norms.min()) <= self.resolution:
            raise UndefinedMetric(
                "class_mean_at_global_mean",
                "a class mean lies on the mean of all class means, and has no angle: equinorm shows how far",
            )
        return self.centered_norms

    @property
    def direction_squared_distances(self) -> PerPair:
        """‖u_i − u_j‖² of u_c = (μ_c − μ_G)/‖μ_c − μ_G‖ for every pair i < j, none of them zero."""
        first, second = self.pairs
        distances = pairwise_squared_distances(self.centered_directions, gram=self.cosine_gram)[first, second]
        if float(distances.min()) <= EPSILON**2:
            raise UndefinedMetric(
                "coinciding_directions", "two centred class means point the same way: leave out one of the classes"
            )
        return distances

    @cached_property
    def squared_distances(self) -> Gram:
        """‖μ_i − μ_j‖², K × K."""
        distances = pairwise_squared_distances(self.evenly_centered_class_means, gram=self.evenly_centered_gram)
        return finite(distances, "the distances of the class means")

    @property
    def pairwise_squared_distances(self) -> PerPair:
        """‖μ_i − μ_j‖² for every pair i < j, none of them zero."""
        first, second = self.pairs
        distances = self.squared_distances[first, second]
        if float(distances.min()) <= self.resolution**2:
            raise UndefinedMetric("coinciding_class_means", "two class means coincide: leave out one of the classes")
        return distances

    @cached_property
    def nearest_classes(self) -> tuple[list[int], list[float]]:
        """For each class the index of the class whose mean is nearest, the first of equal ones, and its distance."""
        distances, nearest = self.squared_distances.clone().fill_diagonal_(torch.inf).min(dim=1)
        return nearest.tolist(), distances.sqrt().tolist()

    def distance_to_simplex(self, gram: Gram) -> float:
        """‖G/‖G‖ − E‖ with E = (I − 11ᵀ/K)/√(K−1), what the Gram matrix of a simplex is."""
        size = self.num_classes
        if self.dim < size - 1:
            raise UndefinedMetric(
                "too_few_dimensions",
                f"a simplex of K = {size} class means needs d ≥ K − 1 = {size - 1} dimensions, and the layer has "
                f"{self.dim}: take a wider layer",
            )
        identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
        return _distance(gram, (identity - 1 / size) / sqrt(size - 1))

    def distance_to_frame(self, gram: Gram) -> float:
        """‖G/‖G‖ − I/√K‖, the second what the Gram matrix of an orthogonal frame is."""
        if self.num_classes == 1:
            raise UndefinedMetric("one_class", "all samples are of one class: send samples of two classes or more")
        identity = torch.eye(self.num_classes, dtype=gram.dtype, device=gram.device)
        return _distance(gram, identity / sqrt(self.num_classes))


def _distance(gram: Gram, ideal: Gram) -> float:
    norm = float(gram.norm())
    if norm == 0:
        raise UndefinedMetric("zero_gram", "the inner products are all zero and have no shape: send another layer")
    return float((gram / norm - ideal).norm())
