"""The classifier's decisions against those of the nearest class mean."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

ROUNDING = torch.finfo(torch.float32).eps / 2
"""Relative error of one rounding to float32."""
WORTH_SCREENING = 1 << 17
"""Numbers in W from which a product in float32, of half the cost, pays although some samples are looked at again."""


class Disagreements:
    """Counts the samples where argmax_c (Wh + b)_c, the first of equal ones, is not the class of the nearest mean.

    Where samples come as residuals r = h − μ_y the scores are Wr + (Wμ_y + b): the second term is one of K vectors. The
    product is taken in float32 first. Where the score of the nearest class differs from the best of the others by less
    than what rounding can have done, the sample is decided again in float64: the count is that of float64, in little
    over half the time.
    """

    def __init__(
        self,
        weights: Float64[Tensor, "classes dim"],
        biases: Float64[Tensor, " classes"] | None,
        *,
        class_means: Float64[Tensor, "classes dim"],
    ) -> None:
        self._weights = weights.T.contiguous()
        biases = weights.new_zeros(len(weights)) if biases is None else biases
        self._scores_of_means = torch.cat([class_means @ self._weights + biases, biases[None]])
        """(K + 1) × K: the scores of each class mean, and last those of the origin"""
        self._screening = weights.numel() >= WORTH_SCREENING
        self._weights_32, self._scores_of_means_32 = self._weights.float(), self._scores_of_means.float()
        self._largest_norm = float(weights.norm(dim=1).max())
        self._largest_scores = self._scores_of_means.abs().amax(dim=1)
        self._count = torch.zeros((), dtype=torch.int64, device=weights.device)

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self._count)

    def merge(self, other: Disagreements) -> None:
        """Add what another has counted."""
        self._count += other._count

    def update(
        self,
        samples: Float64[Tensor, "samples dim"],
        class_indices: Int64[Tensor, " samples"] | None,
        nearest: Int64[Tensor, " samples"],
    ) -> None:
        """Take in a tile: h − μ_y with the classes y, or h itself with None; and the class of each nearest mean."""
        origins = torch.full_like(nearest, len(self._scores_of_means) - 1) if class_indices is None else class_indices
        if self._screening:
            margins = self._margins_32(samples, origins, nearest)
            # Written so that NaN, of what float32 cannot hold, counts as unsure.
            sure = margins.abs() > self._error_bounds(samples, origins)
            self._count += ((margins < 0) & sure).sum()
            unsure = ~sure
            samples, origins, nearest = samples[unsure], origins[unsure], nearest[unsure]
        scores = samples @ self._weights + self._scores_of_means[origins]
        self._count += (scores.argmax(dim=1) != nearest).sum()

    def _margins_32(self, samples: Tensor, origins: Tensor, nearest: Tensor) -> Tensor:
        """Score of the nearest class less the best of the others."""
        scores = torch.addmm(self._scores_of_means_32[origins], samples.float(), self._weights_32)
        own = scores.gather(1, nearest[:, None])
        others = scores.scatter_(1, nearest[:, None], -torch.inf)
        margins: Tensor = own[:, 0] - others.amax(dim=1)
        return margins

    def _error_bounds(self, samples: Tensor, origins: Tensor) -> Tensor:
        """What rounding can have done to a difference of two scores.

        A product of d terms is off by at most (d + 2) roundings of ‖w‖‖h‖, those of w and h to float32 among them; the
        constants are rounded once, and the sums again.
        """
        products = (len(self._weights) + 8) * self._largest_norm * samples.norm(dim=1)
        bounds: Tensor = 2 * ROUNDING * (products + 4 * self._largest_scores[origins])
        return bounds
