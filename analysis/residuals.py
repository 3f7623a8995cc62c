"""The second pass over the samples, with the class means known: residuals h − μ_y against the class means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from analysis.decisions import Disagreements, first_smallest
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
    """take the mean of its class off each sample first; False where that gains no digits: see `find_residuals`"""


@dataclass(frozen=True)
class Residuals:
    """Sums over all samples of what one pass gives."""

    projected_scatter: Float64[Tensor, "classes classes"] | None
    """TᵀT of the scores T = R M̄ᵀ (N × K), R the residuals (N × d); where it was asked for"""
    nearest_center_hits: Int64[Tensor, " classes"]
    """samples of each class whose nearest class mean is their own class's"""
    disagreements: int | None
    """samples whose classifier picks another class than that of the nearest mean; None without a classifier"""

    def __add__(self, other: Residuals) -> Residuals:
        """Those of both, of two parts of the samples."""
        return Residuals(
            projected_scatter=_sum(self.projected_scatter, other.projected_scatter),
            nearest_center_hits=self.nearest_center_hits + other.nearest_center_hits,
            disagreements=_sum(self.disagreements, other.disagreements),
        )


Summand = TypeVar("Summand", int, Tensor)


def _sum(first: Summand | None, second: Summand | None) -> Summand | None:
    """None where it was not asked for."""
    return None if first is None or second is None else first + second


def find_residuals(
    tiles: Iterable[tuple[Tensor, Tensor]], geometry: ClassGeometry, *, projected_scatter: bool
) -> Residuals:
    """Go through the tiles once.

    Nearest centres: ‖h − μ_c‖² − ‖h − μ_y‖² = ‖μ_y − μ_c‖² + 2 r·(m_y − m_c), with r = h − μ_y and m_c the centred
    means. No uncentred distance is formed, so that an offset common to all features changes no decision, and what is
    outside the span of the class means, alike for all classes, drops out.

    T = (H − M_y)M̄ᵀ = HM̄ᵀ − (MM̄ᵀ)_y: the second form leaves out a subtraction of N × d numbers, and is off by roundings
    of ‖h‖ where the first is by roundings of ‖r‖.
    """
    sums = _Sums(geometry, projected_scatter=projected_scatter)
    for features, class_indices in tiles:
        sums.update(features, class_indices)
    return Residuals(
        projected_scatter=None if sums.products is None else sums.products.matrix(),
        nearest_center_hits=sums.nearest_center_hits,
        disagreements=None if sums.disagreements is None else sums.disagreements.count,
    )


class _Sums:
    """What is added up, and what is needed for it."""

    def __init__(self, geometry: ClassGeometry, *, projected_scatter: bool) -> None:
        means, directions = geometry.class_means, geometry.centered_class_means
        self.nearest_center_hits = torch.zeros(len(means), dtype=torch.int64, device=means.device)
        self.products = GramSum(len(means), device=means.device) if projected_scatter else None
        self.disagreements = (
            Disagreements(*geometry.classifier, class_means=means if geometry.centred_samples else None)
            if geometry.classifier is not None
            else None
        )
        self._geometry = geometry
        # What products of samples as they are have too much: the scores of their class means. Residuals have nothing.
        offsets = means.new_zeros(len(means), len(means)) if geometry.centred_samples else means @ directions.T
        if self.disagreements is not None and not self.disagreements.screens:
            # One product is less than two.
            directions = torch.cat([directions, self.disagreements.weights])
            offsets = torch.cat([offsets, -self.disagreements.constants.expand_as(offsets)], dim=1)
        self._directions, self._offsets = directions, offsets
        self._deviations = Deviations()

    def update(self, features: Float[Tensor, "samples dim"], class_indices: Int64[Tensor, " samples"]) -> None:
        """Take in a tile."""
        geometry, num_classes = self._geometry, len(self.nearest_center_hits)
        if geometry.centred_samples:
            samples = self._deviations(features, geometry.class_means, class_indices)
        else:
            samples = self._deviations.copied(features)
        products = self._offsets[class_indices].addmm_(samples, self._directions.T, beta=-1)
        scores = products[:, :num_classes]
        if self.products is not None:
            self.products.add(scores)
        # r·m_y is the same for all c of a sample: comparing does without.
        margins = geometry.squared_distances.index_select(0, class_indices).sub_(scores, alpha=2)
        nearest = first_smallest(margins, guess=class_indices)
        hits = class_indices[nearest == class_indices]
        self.nearest_center_hits += torch.bincount(hits, minlength=num_classes)
        if self.disagreements is not None:
            known = None if self.disagreements.screens else products[:, num_classes:]
            # As they came, where they came in float32 or less: then the product in float32 needs no conversion.
            given = features if known is None and not geometry.centred_samples else samples
            self.disagreements.update(given, class_indices, nearest, known)
