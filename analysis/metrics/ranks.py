"""Ranks of the class means, by singular values s_1 ≥ s_2 ≥ … of M (K × d, not centred)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.metrics.registry import Measured, metric

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics

CENTRE = "none"
WEIGHTING = "every class alike"
FRAMES = "K for an orthogonal frame, K-1 for a simplex"


@metric(
    formula="#{k : s_k > rank_tolerance · s_1}",
    ideal=FRAMES,
    scale="linear",
    direction=None,
    reference="Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS",
    centre=CENTRE,
    weighting=WEIGHTING,
)
def class_mean_rank(layer: LayerStatistics) -> Measured:
    """Numerical rank of the class means.

    The tolerance comes with the value: the rule of the machine epsilon would count noise. Zero means have rank 0.
    """
    values = layer.class_mean_singular_values
    rank = int((values > layer.rank_tolerance * values[0]).sum())
    return Measured(rank, {"tolerance": layer.rank_tolerance})


@metric(
    formula="Σ s² / s_1²",
    ideal=FRAMES,
    scale="linear",
    direction=None,
    reference="Rudelson, Vershynin 2007, Sampling from Large Matrices, JACM",
    centre=CENTRE,
    weighting=WEIGHTING,
)
def class_mean_stable_rank(layer: LayerStatistics) -> float:
    """Stable rank of the class means. Undefined where all are zero."""
    return float((layer.relative_singular_values**2).sum())


@metric(
    formula="exp(−Σ p log p), p = s / Σ s",
    ideal=FRAMES,
    scale="linear",
    direction=None,
    reference="Roy, Vetterli 2007, The Effective Rank, EUSIPCO",
    centre=CENTRE,
    weighting=WEIGHTING,
)
def class_mean_effective_rank(layer: LayerStatistics) -> float:
    """Effective rank of the class means: exponential of the entropy of their singular values.

    Undefined where all are zero.
    """
    shares = layer.relative_singular_values / layer.relative_singular_values.sum()
    return float((-shares.xlogy(shares).sum()).exp())


@metric(
    formula="(Σ s²)² / Σ s⁴",
    ideal=FRAMES,
    scale="linear",
    direction=None,
    reference="Gao, Trautmann, Yu, Santhanam, Ryu, Shenoy, Ganguli 2017, A Theory of Multineuronal Dimensionality",
    centre=CENTRE,
    weighting=WEIGHTING,
)
def class_mean_participation_ratio(layer: LayerStatistics) -> float:
    """Participation ratio of the class means' squared singular values. Undefined where all are zero."""
    eigenvalues = layer.relative_singular_values**2
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
