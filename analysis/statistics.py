"""What the metrics of one layer are computed from, each quantity once, in float64.

A quantity that does not exist raises UndefinedMetric with the reason: metrics need not ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float64, Int64
from torch import Tensor

from analysis.applied_weights import AppliedWeights
from analysis.between_class import BetweenClassDirections, keep_directions, noise_floors
from analysis.class_means import ClassMeans, ClassWeighting, PerClass, PerPair, Values, finite
from analysis.errors import UndefinedMetric
from analysis.residuals import ClassGeometry, Residuals, find_residuals
from analysis.second_moments import ColumnSecondMoments, RowSecondMoments, SecondMoments, Way
from collapse_client.format.moments import Moments

SMALL_RESIDUALS = 1e-6
"""Share of the features' energy: from it on an error of ε‖h‖ is at most 1e3 roundings of a residual."""


@dataclass(frozen=True)
class Samples:
    """What is known of a layer besides its moments.

    tiles: the samples again, as (features, class_indices); walked through when the first metric needs it. None where
    moments were sent instead. projected_scatter: M̄SM̄ᵀ (see `ProjectedScatter`), where that was sent. ood_mean: the mean
    of the samples that belong to no class, where such were sent. residuals: what the second pass gave, where it has
    been made elsewhere, with the class means of these very moments.
    """

    tiles: Iterable[tuple[Tensor, Tensor]] | None = None
    projected_scatter: Float64[Tensor, "classes classes"] | None = None
    ood_mean: Float64[Tensor, " dim"] | None = None
    residuals: Residuals | UndefinedMetric | None = None


class LayerStatistics(ClassMeans):
    """Class means, the scatter around them and the weights applied to them, of one layer.

    second_moments: which matrix to form when a metric needs all second moments, or why none is.
    """

    def __init__(
        self,
        moments: Moments,
        *,
        samples: Samples,
        weights: AppliedWeights,
        rank_tolerance: float = 1e-3,
        class_weighting: ClassWeighting = "balanced",
        second_moments: Way | UndefinedMetric = "columns",
    ) -> None:
        super().__init__(moments, rank_tolerance=rank_tolerance, class_weighting=class_weighting)
        self.samples_per_class = moments.counts
        self.num_samples = int(moments.counts.sum())
        self.samples = samples
        self.weights = weights
        self._way = second_moments

    # -- within the classes ----------------------------------------------------------------------------------------

    @cached_property
    def class_scatter(self) -> PerClass:
        """Σ_i ‖h_i − μ_c‖² of each class."""
        return self.moments.scatter

    @cached_property
    def within_class_trace(self) -> float:
        """Within-class variance tr Σ_W = (1/N) Σ_i ‖h_i − μ_{y_i}‖²."""
        return float(finite(self.class_scatter.sum(), "the within-class variance")) / self.num_samples

    @cached_property
    def class_variances(self) -> PerClass:
        """v_c = (1/n_c) Σ ‖h − μ_c‖²; every class has more than one sample."""
        single = int((self.samples_per_class == 1).sum())
        if single:
            raise UndefinedMetric(
                "single_sample_class",
                f"{single} of {self.num_classes} classes have a single sample (class_counts says which), whose "
                "variance says nothing: send more of them",
            )
        return finite(self.class_scatter, "the within-class variance") / self.samples_per_class

    @property
    def pairwise_variances(self) -> PerPair:
        """v_i + v_j for every pair i < j."""
        first, second = self.pairs
        return self.class_variances[first] + self.class_variances[second]

    # -- the second pass -------------------------------------------------------------------------------------------

    @cached_property
    def residuals(self) -> Residuals:
        """What the second pass over the samples gives."""
        if isinstance(self.samples.residuals, UndefinedMetric):
            raise UndefinedMetric(self.samples.residuals.code, self.samples.residuals.detail)
        if self.samples.tiles is None and self.samples.residuals is None:
            raise UndefinedMetric(
                "needs_samples", "this is counted sample by sample, and moments were sent: send the features to have it"
            )
        _ = self.within_class_trace  # finite: then no score can overflow, by Cauchy and Schwarz
        geometry = ClassGeometry(
            class_means=self.class_means,
            centered_class_means=self.evenly_centered_class_means,
            squared_distances=self.squared_distances,
            classifier=self._classifier,
            centred_samples=self._residuals_are_small,
        )
        if isinstance(self.samples.residuals, Residuals):
            return self.samples.residuals
        assert self.samples.tiles is not None, "asked above"
        return find_residuals(self.samples.tiles, geometry, projected_scatter=self.moments.products is None)

    @property
    def _residuals_are_small(self) -> bool:
        """Whether HM̄ᵀ would be off by more than a few digits of what residuals have."""
        of_means = self.samples_per_class.double() @ self.class_means.square().sum(dim=1)
        energy = self.within_class_trace + float(of_means) / self.num_samples
        return not self.within_class_trace > SMALL_RESIDUALS * energy

    @property
    def _classifier(self) -> tuple[Tensor, Tensor | None] | None:
        try:
            return self.weights.classifier, self.weights.bias
        except UndefinedMetric:
            return None

    @property
    def nearest_center_hits(self) -> Int64[Tensor, " classes"]:
        """Samples of each class whose nearest class mean is their own class's."""
        return self.residuals.nearest_center_hits

    @property
    def classifier_disagreements(self) -> int:
        """Samples whose classifier picks another class than that of the nearest class mean."""
        _ = self.weights.classifier
        disagreements = self.residuals.disagreements
        assert disagreements is not None, "there is a classifier"
        return disagreements

    # -- between the classes ---------------------------------------------------------------------------------------

    @cached_property
    def projected_covariance(self) -> Float64[Tensor, "directions directions"]:
        """VᵀΣ_W V, V the right singular vectors of B; without d × d where only the scatter along M̄ is known.

        With T = R M̄ᵀ of the evenly centred means and B = D(I − 1pᵀ)M̄, RV = T(I − p1ᵀ)DU S⁻¹.
        """
        scatter_matrix = self.moments.scatter_matrix
        if scatter_matrix is not None:
            right = self.decomposition.right
            scatter = right @ scatter_matrix @ right.T
        else:
            basis = self.decomposition.left / self.decomposition.singular_values
            if self.class_weighting == "sample":
                basis = basis * (self.num_classes * self.class_shares).sqrt()[:, None]
                basis = basis - self.class_shares[:, None] * basis.sum(dim=0)
            scatter = basis.T @ self._projected_scatter @ basis
        return finite(scatter / self.num_samples, "the within-class covariance")

    @property
    def _projected_scatter(self) -> Float64[Tensor, "classes classes"]:
        if self.samples.projected_scatter is not None:
            return self.samples.projected_scatter
        if self.samples.tiles is None and self.samples.residuals is None:
            raise UndefinedMetric(
                "needs_projected_scatter",
                "this needs the scatter along the class means, and moments without it were sent: keep all second "
                "moments (second_moments='matrix'), or send projected_scatter.<layer>",
            )
        projected_scatter = self.residuals.projected_scatter
        assert projected_scatter is not None, "the moments have no matrix"
        return projected_scatter

    @cached_property
    def between_class_directions(self) -> BetweenClassDirections:
        """The directions of Σ_B that stand out of rounding and of noise; at least one."""
        left, singular_values = self.decomposition.left, self.decomposition.singular_values
        floors = noise_floors(
            left,
            noise_of_rows=self.num_classes * self.class_shares / self.samples_per_class,
            num_samples=self.num_samples,
            within_class_trace=self.within_class_trace,
            projected_covariance=self.projected_covariance,
        )
        directions = keep_directions(
            singular_values,
            floors=floors,
            rank_tolerance=self.rank_tolerance,
            num_classes=self.num_classes,
            cap=min(self.num_classes - 1, self.dim),
        )
        if directions.rank == 0:
            raise UndefinedMetric(
                "no_direction_above_noise",
                "the class means lie no further apart than the noise of their estimates: send more samples per class",
            )
        return directions

    @cached_property
    def within_class_variances(self) -> Values:
        """Diagonal of VᵀΣ_W V in the kept directions; never negative."""
        return self.projected_covariance.diagonal()[self.between_class_directions.kept].clamp(min=0)

    # -- all second moments ----------------------------------------------------------------------------------------

    @property
    def second_moments(self) -> SecondMoments:
        """What follows from all second moments of the features."""
        # Neither kept nor raised as it is: a reference back to here would keep all tensors of the layer alive.
        if isinstance(self._way, UndefinedMetric):
            raise UndefinedMetric(self._way.code, self._way.detail)
        if self._way == "rows" and self.samples.tiles is not None:
            return RowSecondMoments(self, self.samples.tiles)
        scatter_matrix = self.moments.scatter_matrix
        if scatter_matrix is None:
            raise UndefinedMetric(
                "needs_scatter_matrix",
                "this needs all second moments, and moments without them were sent: keep them "
                "(second_moments='matrix')",
            )
        return ColumnSecondMoments(self, scatter_matrix)

    @cached_property
    def feature_singular_values(self) -> Values:
        """Singular values of H (N × d, not centred), largest first; those under 1e-8 of the first are lost."""
        return self.second_moments.feature_singular_values()

    # -- samples of no class ---------------------------------------------------------------------------------------

    @property
    def ood_mean(self) -> Float64[Tensor, " dim"]:
        """Mean of the samples that belong to no class."""
        if self.samples.ood_mean is None:
            raise UndefinedMetric(
                "no_ood_samples", "no samples of no class were sent: add a tensor 'ood.<layer>' to have this"
            )
        return self.samples.ood_mean
