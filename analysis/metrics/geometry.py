"""Geometry of the class means: equal norms, equal angles, simplex or orthogonal frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.metrics.registry import metric

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics

CENTRE = "unweighted mean of the class means"
WEIGHTING = "every class alike"
PAPYAN = "Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS"


@metric(
    formula="std_c ‖μ_c − μ_G‖ / mean_c ‖μ_c − μ_G‖",
    ideal=0.0,
    scale="linear",
    direction="lower",
    reference=PAPYAN,
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="variance by K",
)
def equinorm(layer: LayerStatistics) -> float:
    """Coefficient of variation of the norms of the centred class means.

    Undefined where all class means coincide.
    """
    norms = layer.centered_norms
    return float(norms.std(correction=0) / norms.mean())


@metric(
    formula="std over pairs i < j of cos(μ_i − μ_G, μ_j − μ_G)",
    ideal=0.0,
    scale="linear",
    direction="lower",
    reference=PAPYAN,
    centre=CENTRE,
    weighting="every pair of classes alike",
    divisor="variance by K(K−1)/2",
)
def equiangularity(layer: LayerStatistics) -> float:
    """Standard deviation of the cosines between centred class means.

    Undefined where a class mean lies on the global mean.
    """
    return float(layer.cosines.std(correction=0))


@metric(
    formula="mean over pairs i < j of |cos(μ_i − μ_G, μ_j − μ_G) + 1/(K−1)|",
    ideal=0.0,
    scale="linear",
    direction="lower",
    reference=PAPYAN,
    centre=CENTRE,
    weighting="every pair of classes alike",
    divisor="K(K−1)/2",
)
def maximal_angle(layer: LayerStatistics) -> float:
    """Mean distance of the cosines from those of a simplex, the widest equal angles there are.

    Undefined where a class mean lies on the global mean.
    """
    return float((layer.cosines + 1 / (layer.num_classes - 1)).abs().mean())


@metric(
    formula="‖ M̄M̄ᵀ/‖M̄M̄ᵀ‖ − (I − 11ᵀ/K)/√(K−1) ‖",
    ideal=0.0,
    scale="linear",
    direction="lower",
    reference="Zhu, Ding, Zhou, Li, You, Sulam, Qu 2021, A Geometric Analysis of Neural Collapse, NeurIPS",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="Frobenius norms, no divisor",
)
def simplex_etf_distance(layer: LayerStatistics) -> float:
    """Distance of the centred class-mean Gram matrix from that of a simplex equiangular tight frame.

    Undefined where all class means coincide, and where d < K − 1, which has no room for a simplex.
    """
    return layer.distance_to_simplex(layer.centered_gram)


@metric(
    formula="‖ MMᵀ/‖MMᵀ‖ − I/√K ‖",
    ideal=0.0,
    scale="linear",
    direction="lower",
    reference="Tirer, Bruna 2022, Extended Unconstrained Features Model for Exploring Deep Neural Collapse, ICML",
    centre="none",
    weighting=WEIGHTING,
    divisor="Frobenius norms, no divisor",
)
def orthogonal_frame_distance(layer: LayerStatistics) -> float:
    """Distance of the uncentred class-mean Gram matrix from that of an orthogonal frame.

    Undefined where all class means are zero.
    """
    return layer.distance_to_frame(layer.class_mean_gram)


@metric(
    formula="max over pairs i < j of |cos(μ_i − μ_G, μ_j − μ_G)|",
    ideal="1/(K-1)",
    scale="linear",
    direction="lower",
    reference="Strohmer, Heath 2003, Grassmannian Frames with Applications to Coding and Communication, ACHA",
    centre=CENTRE,
    weighting="every pair of classes alike",
)
def mutual_coherence(layer: LayerStatistics) -> float:
    """Largest cosine, in size, between centred class means.

    Undefined where a class mean lies on the global mean.
    """
    return float(layer.cosines.abs().max())
