"""The directions in which the class means lie apart: which are real, and which are noise of their estimates.

The low-rank solutions are the subject here, and there the pseudo-inverse of Σ_B divides within-class noise by
between-class noise. So directions are kept only where they stand out of both rounding and estimation noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class BetweenClassDirections:
    """The leading right singular vectors of M̄ that are kept."""

    rank: int
    cut: float
    """singular value of M̄ that a direction must exceed"""
    bound_by: Literal["tolerance", "noise_floor", "cap"]
    """what set the rank; cap: min(K − 1, d), nothing was left out"""
    eigenvalues: Float64[Tensor, " rank"]
    """of Σ_B: s² / K"""


def keep_directions(
    singular_values: Float64[Tensor, " values"],
    *,
    cap: int,
    rank_tolerance: float,
    noise_floor: float,
    num_classes: int,
) -> BetweenClassDirections:
    """Keep s_k of M̄ above rank_tolerance · s_1 and s_k²/K above the noise floor, at most `cap` of them."""
    relative = rank_tolerance * float(singular_values[0])
    noise = sqrt(num_classes * noise_floor)
    cut = max(relative, noise)
    rank = min(cap, int((singular_values > cut).sum()))
    rule: Literal["tolerance", "noise_floor"] = "tolerance" if relative >= noise else "noise_floor"
    return BetweenClassDirections(
        rank=rank,
        cut=cut,
        bound_by="cap" if rank == cap else rule,
        eigenvalues=singular_values[:rank] ** 2 / num_classes,
    )


def noise_floor(
    samples_per_class: Int64[Tensor, " classes"],
    *,
    within_class_trace: float,
    projected_covariance: Float64[Tensor, "directions directions"],
) -> float:
    """Largest eigenvalue of Σ_B that K class means of pure noise would show.

    Each estimated mean is off by noise of covariance Σ/n_c, Σ the within-class covariance with divisor N − K, as the
    K means take up K degrees of freedom. The norm of such a K × d matrix is, by Chevet's and Gordon's inequality, at
    most √(max_c 1/n_c · tr Σ) + √(Σ_c 1/n_c · λ_max(Σ)) in the mean; its square over K is the floor. For classes of n
    samples each and Σ = σ²I it is σ²/n (1 + √(d/K))², the Marchenko-Pastur edge.

    within_class_trace: tr Σ_W, divisor N; projected_covariance: Σ_W in the span of the centred class means.
    """
    num_samples, num_classes = int(samples_per_class.sum()), len(samples_per_class)
    if num_samples == num_classes:
        return 0.0  # one sample each: there is nothing to tell noise by
    shares = 1 / samples_per_class.to(torch.float64)
    largest = max(float(torch.linalg.eigvalsh(projected_covariance)[-1]), 0.0)
    norm = sqrt(float(shares.max()) * within_class_trace) + sqrt(float(shares.sum()) * largest)
    return norm * norm / num_classes * num_samples / (num_samples - num_classes)
