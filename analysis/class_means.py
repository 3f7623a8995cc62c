"""What follows from the class means alone, each quantity once, in float64.

A quantity that does not exist raises UndefinedMetric with the reason: metrics need not ask.
"""

from __future__ import annotations

from functools import cached_property
from math import sqrt

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from analysis.distances import pairwise_squared_distances
from analysis.errors import UndefinedMetric
from collapse_client.format.moments import Moments

EPSILON = torch.finfo(torch.float64).eps

Means = Float64[Tensor, "classes dim"]
Gram = Float64[Tensor, "classes classes"]
PerClass = Float64[Tensor, " classes"]
PerPair = Float64[Tensor, " pairs"]
Values = Float64[Tensor, " values"]


def finite(values: Tensor, what: str) -> Tensor:
    """The values as they are; UndefinedMetric where float64 could not hold them."""
    if not bool(values.isfinite().all()):
        raise UndefinedMetric("overflow", f"{what} overflow float64: scale the features down")
    return values


class ClassMeans:
    """The class means of one layer and their geometry."""

    def __init__(self, moments: Moments, *, rank_tolerance: float) -> None:
        self.moments = moments
        self.rank_tolerance = rank_tolerance
        self.num_classes, self.dim = moments.shift.shape

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
        return finite(torch.linalg.svdvals(self.class_means), "the singular values of the class means")

    @cached_property
    def relative_singular_values(self) -> Values:
        """Singular values of M over the largest one."""
        largest = self.class_mean_singular_values[0]
        if largest == 0:
            raise UndefinedMetric("zero_class_means", "all class means are zero: the layer is dead, send another one")
        return self.class_mean_singular_values / largest

    @cached_property
    def resolution(self) -> float:
        """Distance below which float64 cannot tell two class means apart."""
        return 4 * EPSILON * float(self.class_means.norm(dim=1).max())

    @cached_property
    def centered_class_means(self) -> Means:
        """M̄: rows μ_c − μ_G, μ_G the unweighted mean of the class means; not all of them zero."""
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
    def decomposition(self) -> tuple[Float64[Tensor, "classes values"], Values, Float64[Tensor, "values dim"]]:
        """M̄ = U S Vᵀ as (U, S, Vᵀ) without the directions that are zero but for rounding: at most K − 1."""
        left, values, right = torch.linalg.svd(self.centered_class_means, full_matrices=False)
        above = int((values > EPSILON * max(self.num_classes, self.dim) * values[0]).sum())
        count = min(self.num_classes - 1, above)
        return left[:, :count], values[:count], right[:count]

    @cached_property
    def centered_gram(self) -> Gram:
        """M̄M̄ᵀ."""
        return finite(self.centered_class_means @ self.centered_class_means.T, "the inner products of the class means")

    @cached_property
    def centered_norms(self) -> PerClass:
        """‖μ_c − μ_G‖."""
        return finite(self.centered_class_means.norm(dim=1), "the norms of the class means")

    @cached_property
    def between_class_trace(self) -> float:
        """Between-class variance tr Σ_B = (1/K) Σ_c ‖μ_c − μ_G‖²; never zero."""
        trace = float(finite(self.centered_norms.square().sum(), "the between-class variance")) / self.num_classes
        if trace == 0:
            raise UndefinedMetric("underflow", "the between-class variance underflows float64: scale the features up")
        return trace

    @cached_property
    def pairs(self) -> Int64[Tensor, "2 pairs"]:
        """Indices i < j of every pair of classes."""
        return torch.triu_indices(self.num_classes, self.num_classes, offset=1, device=self.moments.counts.device)

    @cached_property
    def cosines(self) -> PerPair:
        """cos(μ_i − μ_G, μ_j − μ_G) for every pair i < j."""
        if float(self.centered_norms.min()) <= self.resolution:
            raise UndefinedMetric(
                "class_mean_at_global_mean",
                "a class mean lies on the mean of all class means, and has no angle: equinorm shows how far",
            )
        directions = self.centered_class_means / self.centered_norms[:, None]
        first, second = self.pairs
        return (directions @ directions.T)[first, second].clamp(-1, 1)

    @cached_property
    def squared_distances(self) -> Gram:
        """‖μ_i − μ_j‖², K × K."""
        return finite(pairwise_squared_distances(self.centered_class_means), "the distances of the class means")

    @cached_property
    def pairwise_squared_distances(self) -> PerPair:
        """‖μ_i − μ_j‖² for every pair i < j, none of them zero."""
        first, second = self.pairs
        distances = self.squared_distances[first, second]
        if float(distances.min()) <= self.resolution**2:
            raise UndefinedMetric("coinciding_class_means", "two class means coincide: leave out one of the classes")
        return distances

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
