"""The second pass over the samples, with the class means known: residuals h − μ_y against the class means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from collapse_client.format.moments import Deviations


@dataclass(frozen=True)
class Residuals:
    """Sums over all samples of what one pass gives."""

    scores_gram: Float64[Tensor, "classes classes"] | None
    """TᵀT of the scores T = R M̄ᵀ (N × K), R the residuals (N × d); where K ≤ d"""
    gram: Float64[Tensor, "dim dim"] | None
    """RᵀR; where d < K, or where it was asked for"""
    nearest_center_hits: int
    """samples whose nearest class mean is their own class's"""

    def within_class_scatter(
        self,
        left: Float64[Tensor, "classes directions"],
        singular_values: Float64[Tensor, " directions"],
        right: Float64[Tensor, "directions dim"],
    ) -> Float64[Tensor, "directions directions"]:
        """VᵀRᵀRV for the singular value decomposition M̄ = U S Vᵀ, without d × d where K ≤ d: RV = T U S⁻¹."""
        if self.scores_gram is not None:
            basis = left / singular_values
            return basis.T @ self.scores_gram @ basis
        assert self.gram is not None
        return right @ self.gram @ right.T


def find_residuals(
    tiles: Iterable[tuple[Tensor, Tensor]],
    *,
    class_means: Float64[Tensor, "classes dim"],
    centered_class_means: Float64[Tensor, "classes dim"],
    squared_distances: Float64[Tensor, "classes classes"],
    full: bool = False,
) -> Residuals:
    """Go through the tiles once; `full` asks for RᵀR.

    Nearest centres: ‖h − μ_c‖² − ‖h − μ_y‖² = ‖μ_y − μ_c‖² + 2 r·(m_y − m_c), with r = h − μ_y and m_c the centred
    means. No uncentred distance is formed, so that an offset common to all features changes no decision, and what is
    outside the span of the class means, alike for all classes, drops out.
    """
    num_classes, dim = class_means.shape
    scores_gram = torch.zeros_like(squared_distances) if num_classes <= dim else None
    gram = class_means.new_zeros(dim, dim) if full or scores_gram is None else None
    directions = centered_class_means.T.contiguous()
    hits = torch.zeros((), dtype=torch.int64, device=class_means.device)
    deviations = Deviations()
    for features, class_indices in tiles:
        residuals = deviations(features, class_means, class_indices)
        scores = residuals @ directions
        if scores_gram is not None:
            scores_gram.addmm_(scores.T, scores)
        if gram is not None:
            gram.addmm_(residuals.T, residuals)
        # r·m_y is the same for all c of a sample: the argmin does without. Of equal values the first class counts.
        margins = squared_distances.index_select(0, class_indices).sub_(scores, alpha=2)
        hits += (margins.argmin(dim=1) == class_indices).sum()
    return Residuals(scores_gram=scores_gram, gram=gram, nearest_center_hits=int(hits))
