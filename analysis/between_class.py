"""The directions in which the class means lie apart: which are real, and which are noise of their estimates.

The low-rank solutions are the subject here, and there the pseudo-inverse of Σ_B divides within-class noise by
between-class noise. So directions are kept only where they stand out of both rounding and estimation noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from jaxtyping import Bool, Float64
from torch import Tensor


@dataclass(frozen=True)
class BetweenClassDirections:
    """Which right singular vectors of B are kept."""

    kept: Bool[Tensor, " directions"]
    eigenvalues: Float64[Tensor, " rank"]
    """of Σ_B in the kept directions: s² / K"""
    cut: float
    """singular value that the first direction left out, or else the last one kept, had to exceed"""
    bound_by: Literal["tolerance", "noise_floor", "cap"]
    """what set that cut; cap: there are min(K − 1, d) directions, and all are kept"""

    @property
    def rank(self) -> int:
        """How many are kept."""
        return len(self.eigenvalues)


def keep_directions(
    singular_values: Float64[Tensor, " directions"],
    *,
    floors: Float64[Tensor, " directions"],
    rank_tolerance: float,
    num_classes: int,
    cap: int,
) -> BetweenClassDirections:
    """Keep the s_k of B that are above rank_tolerance · s_1 and above their noise floor."""
    tolerated = rank_tolerance * singular_values[0]
    cuts = floors.clamp(min=float(tolerated))
    kept = singular_values > cuts
    left_out = (~kept).nonzero()
    decisive = int(left_out[0]) if len(left_out) else -1
    rule: Literal["tolerance", "noise_floor"] = "tolerance" if floors[decisive] <= tolerated else "noise_floor"
    return BetweenClassDirections(
        kept=kept,
        eigenvalues=singular_values[kept] ** 2 / num_classes,
        cut=float(cuts[decisive]),
        bound_by="cap" if int(kept.sum()) == cap else rule,
    )


def noise_floors(
    left: Float64[Tensor, "classes directions"],
    *,
    noise_of_rows: Float64[Tensor, " classes"],
    num_samples: int,
    within_class_trace: float,
    projected_covariance: Float64[Tensor, "directions directions"],
) -> Float64[Tensor, " directions"]:
    """For each singular direction of B, the singular value that class means of pure noise would show there.

    B are the centred class means, one row a class, times √(K p_c) where classes are weighted; `noise_of_rows` is what
    that makes of the variance of an estimated mean, K p_c / n_c, 1/n_c for p_c = 1/K.

    Each row is off by noise of covariance δ_c Σ, so that pure noise is D^(1/2) G Σ^(1/2) with D = diag(δ_c), δ_c the
    noise of the row, and G standard normal, K × d. For each of its singular triples
    s = uᵀD^(1/2) G Σ^(1/2) v ≤ √(Σ_c u_c² δ_c) · ‖G Σ^(1/2)‖, and that norm is in the mean at most
    √tr Σ + √(K λ_max(Σ)), by Chevet's and Gordon's inequality. For classes of n samples each and Σ = σ²I this makes
    s²/K = σ²/n (1 + √(d/K))², the Marchenko-Pastur edge; where classes differ in size, a direction is held against
    the noise of those classes that span it, and not against that of the smallest class.

    left: left singular vectors of B; within_class_trace: tr Σ_W; projected_covariance: VᵀΣ_W V. Both have divisor N
    and are taken to N − K here, as the K estimated means use up K degrees of freedom. With one sample in each class
    there is nothing to tell noise by, and the floors are 0.
    """
    num_classes = len(noise_of_rows)
    if num_samples == num_classes:
        return torch.zeros_like(left[0])
    largest = max(float(torch.linalg.eigvalsh(projected_covariance)[-1]), 0.0)
    norm = sqrt(within_class_trace) + sqrt(num_classes * largest)
    unbiased = sqrt(num_samples / (num_samples - num_classes))
    return unbiased * norm * (left.square() * noise_of_rows[:, None]).sum(dim=0).sqrt()
