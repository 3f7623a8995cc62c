"""What the metrics of one layer are computed from, each quantity once, in float64.

A quantity that does not exist raises UndefinedMetric with the reason: metrics need not ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from jaxtyping import Float64
from torch import Tensor

from analysis.between_class import BetweenClassDirections, keep_directions, noise_floors
from analysis.class_means import ClassMeans, PerClass, PerPair, Values, finite
from analysis.errors import UndefinedMetric
from analysis.residuals import Residuals, find_residuals
from collapse_client.format.moments import Moments


class LayerStatistics(ClassMeans):
    """Class means, scatter around them, and the classifier, of one layer.

    tiles: the samples again, as (features, class_indices), for the second pass; walked through at most once, when the
    first metric needs it. classifier: W (K × d), or why there is none. full_residual_gram: see `find_residuals`.
    """

    def __init__(
        self,
        moments: Moments,
        *,
        tiles: Iterable[tuple[Tensor, Tensor]],
        classifier: Float64[Tensor, "classes dim"] | UndefinedMetric,
        rank_tolerance: float = 1e-3,
        full_residual_gram: bool = False,
    ) -> None:
        super().__init__(moments, rank_tolerance=rank_tolerance)
        self.samples_per_class = moments.counts
        self.num_samples = int(moments.counts.sum())
        self._tiles = tiles
        self._classifier = classifier
        self._full_residual_gram = full_residual_gram

    @property
    def classifier_weights(self) -> Float64[Tensor, "classes dim"]:
        """W, one row for each class in ascending order of label; not zero."""
        if isinstance(self._classifier, UndefinedMetric):
            raise self._classifier
        if not bool(self._classifier.any()):
            raise UndefinedMetric("zero_weights", "the classifier's weights are all zero: send trained ones")
        return self._classifier

    @cached_property
    def within_class_trace(self) -> float:
        """Within-class variance tr Σ_W = (1/N) Σ_i ‖h_i − μ_{y_i}‖²."""
        return float(finite(self.moments.scatter.sum(), "the within-class variance")) / self.num_samples

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
        return finite(self.moments.scatter, "the within-class variance") / self.samples_per_class

    @cached_property
    def pairwise_variances(self) -> PerPair:
        """v_i + v_j for every pair i < j."""
        first, second = self.pairs
        return self.class_variances[first] + self.class_variances[second]

    @cached_property
    def residuals(self) -> Residuals:
        """What the second pass over the samples gives."""
        _ = self.within_class_trace  # finite: then no score can overflow, by Cauchy and Schwarz
        return find_residuals(
            self._tiles,
            class_means=self.class_means,
            centered_class_means=self.centered_class_means,
            squared_distances=self.squared_distances,
            full=self._full_residual_gram,
        )

    @property
    def nearest_center_hits(self) -> int:
        """Samples whose nearest class mean is their own class's."""
        return self.residuals.nearest_center_hits

    @cached_property
    def projected_covariance(self) -> Float64[Tensor, "directions directions"]:
        """VᵀΣ_W V, V the right singular vectors of M̄."""
        scatter = self.residuals.within_class_scatter(*self.decomposition)
        return finite(scatter / self.num_samples, "the within-class covariance")

    @cached_property
    def between_class_directions(self) -> BetweenClassDirections:
        """The directions of Σ_B that stand out of rounding and of noise; at least one."""
        left, singular_values, _ = self.decomposition
        floors = noise_floors(
            left,
            samples_per_class=self.samples_per_class,
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
