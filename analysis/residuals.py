"""The second pass over the samples, with the class means known: residuals h − μ_y against the class means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from analysis.decisions import Disagreements
from collapse_client.format.moments import Deviations, GramSum


@dataclass(frozen=True)
class ClassGeometry:
    """What the residuals are held against."""

    class_means: Float64[Tensor, "classes dim"]
    centered_class_means: Float64[Tensor, "classes dim"]
    """M̄, minus the unweighted mean"""
    squared_distances: Float64[Tensor, "classes classes"]
    classifier: tuple[Tensor, Tensor | None] | None = None
    """W (K × d), and b (K,) or None, where there is one"""
    centred_samples: bool = True
    """take the mean of its class off each sample first; False where that would gain no digits: see `Residuals`"""


class Residuals:
    """Sums over all samples of what one pass gives, tile by tile.

    With residuals R (N × d) and scores T = R M̄ᵀ (N × K): TᵀT, where `projected_scatter` asks for it; the samples of
    each class that are nearest to their own class's mean; those for which the classifier picks another class than that
    of the nearest mean.

    Nearest centres: ‖h − μ_c‖² − ‖h − μ_y‖² = ‖μ_y − μ_c‖² + 2 r·(m_y − m_c), with r = h − μ_y and m_c the centred
    means. No uncentred distance is formed, so that an offset common to all features changes no decision, and what is
    outside the span of the class means, alike for all classes, drops out.

    T = (H − M_y)M̄ᵀ = HM̄ᵀ − (MM̄ᵀ)_y: the second form leaves out a subtraction of N × d numbers, and is off by roundings
    of ‖h‖ where the first is by roundings of ‖r‖.
    """

    def __init__(self, geometry: ClassGeometry, *, projected_scatter: bool) -> None:
        means = geometry.class_means
        self.nearest_center_hits = torch.zeros(len(means), dtype=torch.int64, device=means.device)
        """(K,)"""
        self._geometry = geometry
        self._directions = geometry.centered_class_means.T.contiguous()
        self._scores_of_means = means @ self._directions
        self._products = GramSum(len(means), device=means.device) if projected_scatter else None
        self._disagreements = (
            Disagreements(*geometry.classifier, class_means=means) if geometry.classifier is not None else None
        )
        self._deviations = Deviations()

    def update(self, features: Float[Tensor, "samples dim"], class_indices: Int64[Tensor, " samples"]) -> None:
        """Take in a tile."""
        geometry = self._geometry
        if geometry.centred_samples:
            samples = self._deviations(features, geometry.class_means, class_indices)
            scores = samples @ self._directions
        else:
            samples = self._deviations.copied(features)
            scores = torch.addmm(self._scores_of_means[class_indices], samples, self._directions, beta=-1)
        if self._products is not None:
            self._products.add(scores)
        # r·m_y is the same for all c of a sample: the argmin does without. Of equal values the first class counts.
        margins = geometry.squared_distances.index_select(0, class_indices).sub_(scores, alpha=2)
        nearest = margins.argmin(dim=1)
        hits = class_indices[nearest == class_indices]
        self.nearest_center_hits += torch.bincount(hits, minlength=len(self.nearest_center_hits))
        if self._disagreements is not None:
            self._disagreements.update(samples, class_indices if geometry.centred_samples else None, nearest)

    def merge(self, other: Residuals) -> None:
        """Take in the sums over other samples, against the same class means."""
        self.nearest_center_hits += other.nearest_center_hits
        if self._products is not None and other._products is not None:
            self._products.total += other._products.total
        if self._disagreements is not None and other._disagreements is not None:
            self._disagreements.merge(other._disagreements)

    @property
    def projected_scatter(self) -> Float64[Tensor, "classes classes"] | None:
        """TᵀT, where it was asked for."""
        return None if self._products is None else self._products.matrix()

    @property
    def disagreements(self) -> int | None:
        """Samples whose classifier picks another class than that of the nearest mean; None without a classifier."""
        return None if self._disagreements is None else self._disagreements.count
