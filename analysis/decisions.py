"""The classifier's decisions against those of the nearest class mean."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

ROUNDING = torch.finfo(torch.float32).eps / 2
"""Relative error of one rounding to float32."""
WORTH_SCREENING = 1 << 15
"""Numbers in W from which a product in float32, of half the cost, pays although some samples are looked at again."""


class Disagreements:
    """Counts the samples where argmax_c (Wh + b)_c, the first of equal ones, is not the class of the nearest mean.

    Samples come as h, or as residuals r = h − μ_y; with these the scores are Wr + (Wμ_y + b), the second term one of K
    vectors. For a large W the product is taken in float32 first. Where the score of the nearest class differs from the
    best of the others by less than what rounding can have done, the sample is decided again in float64: the count is
    that of float64, in little over half the time.
    """

    def __init__(
        self,
        weights: Float64[Tensor, "classes dim"],
        biases: Float64[Tensor, " classes"] | None,
        *,
        class_means: Float64[Tensor, "classes dim"] | None,
    ) -> None:
        """class_means: what residuals are relative to; None where samples come as they are."""
        self.weights = weights
        self.screens = weights.numel() >= WORTH_SCREENING
        """whether `update` computes the scores; else it is given them"""
        biases = weights.new_zeros(len(weights)) if biases is None else biases
        self.constants = biases if class_means is None else torch.addmm(biases, class_means, weights.T)
        """what is added to a product: (K,), or K × K, a row for each class"""
        self._weights_32 = weights.float() if self.screens else None
        self._largest_norm = float(weights.norm(dim=1).max())
        self._count = torch.zeros((), dtype=torch.int64, device=weights.device)

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self._count)

    def update(
        self,
        samples: Float[Tensor, "samples dim"],
        class_indices: Int64[Tensor, " samples"],
        nearest: Int64[Tensor, " samples"],
        scores: Float64[Tensor, "samples classes"] | None,
    ) -> None:
        """Take in a tile: h or h − μ_y, classes y, classes of the nearest means and, unless this `screens`, the scores.

        The scores are overwritten.
        """
        if scores is None:
            margins, error_bounds = self._screened(samples, class_indices, nearest)
        else:
            margins = self._margins(scores, nearest)
            error_bounds = torch.zeros_like(margins)
        # Written so that NaN, of what float32 cannot hold, counts as unsure; so do scores that are equal.
        sure = margins.abs() > error_bounds
        self._count += ((margins < 0) & sure).sum()
        unsure = (~sure).nonzero()[:, 0]
        if len(unsure):
            scores = samples[unsure].double() @ self.weights.T + self._constants_of(class_indices[unsure])
            self._count += (scores.argmax(dim=1) != nearest[unsure]).sum()

    @staticmethod
    def _margins(scores: Tensor, nearest: Tensor) -> Tensor:
        """Score of the nearest class less the best of the others."""
        own = scores.gather(1, nearest[:, None])[:, 0]
        return own - scores.scatter_(1, nearest[:, None], -torch.inf).amax(dim=1)

    def _constants_of(self, class_indices: Tensor) -> Tensor:
        return self.constants if self.constants.ndim == 1 else self.constants[class_indices]

    def _screened(self, samples: Tensor, class_indices: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """The margins in float32, and what rounding can have done to them.

        A product of d terms is off by at most (d + 2) roundings of ‖w‖‖h‖, those of w and h to float32 among them; the
        constants are rounded once, and the sums again.
        """
        assert self._weights_32 is not None, "made for large W alone"
        constants = self._constants_of(class_indices)
        samples = samples.float()
        scores = torch.addmm(constants.float(), samples, self._weights_32.T)
        margins = self._margins(scores, nearest)
        lengths = (samples.shape[1] + 8) * self._largest_norm * samples.norm(dim=1)
        return margins, 2 * ROUNDING * (lengths + 4 * constants.abs().amax(dim=-1))


def first_smallest(
    values: Float64[Tensor, "samples classes"], *, guess: Int64[Tensor, " samples"]
) -> Int64[Tensor, " samples"]:
    """The argmin of each row, the first of equal ones; quick where the guess is right. The values are overwritten.

    An argmin takes three to ten times what a minimum does: it is only taken where the guess is not the only smallest.

    >>> values = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]], dtype=torch.float64)
    >>> first_smallest(values, guess=torch.tensor([0, 0, 1])).tolist()
    [0, 1, 0]
    """
    own = values.gather(1, guess[:, None])
    others = values.scatter_(1, guess[:, None], torch.inf).amin(dim=1)
    wrong = (own[:, 0] >= others).nonzero()[:, 0]
    smallest = guess.clone()
    smallest[wrong] = values[wrong].scatter_(1, guess[wrong, None], own[wrong]).argmin(dim=1)
    return smallest
