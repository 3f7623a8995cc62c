"""Geometry of the class means: equal norms, equal angles, simplex or orthogonal frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.metrics.registry import metric

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics

CENTRE = "mean of the class means; the mean of all samples with class_weighting=sample"
WEIGHTING = "every class alike"
PAPYAN = "Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS"


@metric(
    formula="std_c ‖μ_c − μ_G‖ / mean_c ‖μ_c − μ_G‖",
    threshold=0.1,
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
    threshold=0.1,
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
    threshold=0.1,
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
    threshold=0.1,
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
    threshold=0.1,
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


@metric(
    formula="s_1 / s_K of M",
    ideal=1.0,
    scale="log",
    direction="lower",
    threshold=1.5,
    reference="Súkeník, Mondelli, Lampert 2023, Deep Neural Collapse Is Provably Optimal, NeurIPS (DNC2)",
    centre="none",
    weighting=WEIGHTING,
)
def class_mean_condition_number(layer: LayerStatistics) -> float:
    """Condition number of the class means: 1 for an orthogonal frame.

    Undefined where the class means are linearly dependent, as in d < K dimensions: the number is infinite.
    """
    return layer.class_mean_condition_number


@metric(
    formula="mean over pairs i < j of log(1/‖u_i − u_j‖), u_c = (μ_c − μ_G)/‖μ_c − μ_G‖",
    ideal="-log(2K/(K-1))/2",
    scale="linear",
    direction="lower",
    reference="Liu, Yu, Weller, Schölkopf 2023, Generalizing and Decoupling Neural Collapse, ICLR; Wu, Papyan 2024",
    centre=CENTRE,
    weighting="every pair of classes alike",
    divisor="K(K−1)/2",
)
def hyperspherical_energy(layer: LayerStatistics) -> float:
    """Hyperspherical energy of the centred class means, with the logarithmic kernel: least where they spread evenly.

    Undefined where a class mean lies on the global mean, and where two point the same way.
    """
    return -float(layer.direction_squared_distances.log().mean()) / 2
