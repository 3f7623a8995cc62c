"""Class means as a classifier, and the classifier's weights against the class means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.metrics.registry import metric

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics

CENTRE = "unweighted mean of the class means; W as it is"
WEIGHTING = "every class alike"


@metric(
    formula="(1/N) #{i : argmin_c ‖h_i − μ_c‖ = y_i}",
    ideal=1.0,
    scale="linear",
    direction="higher",
    reference="Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS (NC4, without the classifier)",
    weighting="every sample alike",
    divisor="N",
)
def nearest_center_accuracy(layer: LayerStatistics) -> float:
    """Share of the samples whose nearest class mean is that of their own class.

    Of equally near class means the one with the smallest label counts. Undefined where all class means coincide.
    """
    return layer.nearest_center_hits / layer.num_samples


@metric(
    formula="‖ W/‖W‖ − M̄/‖M̄‖ ‖",
    ideal=0.0,
    scale="linear",
    direction="lower",
    scope="classifier",
    reference="Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS (NC3)",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="Frobenius norms, no divisor",
)
def self_duality_distance(layer: LayerStatistics) -> float:
    """Distance between classifier and centred class means, each of unit norm.

    Rows of W stand for the classes in ascending order of label. Undefined without W (K × d), and where W is zero or
    all class means coincide.
    """
    weights, means = layer.classifier_weights, layer.centered_class_means
    return float((weights / weights.norm() - means / means.norm()).norm())


@metric(
    formula="‖ WM̄ᵀ/‖WM̄ᵀ‖ − (I − 11ᵀ/K)/√(K−1) ‖",
    ideal=0.0,
    scale="linear",
    direction="lower",
    scope="classifier",
    reference="Zhu, Ding, Zhou, Li, You, Sulam, Qu 2021, A Geometric Analysis of Neural Collapse, NeurIPS",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="Frobenius norms, no divisor",
)
def self_duality_structure(layer: LayerStatistics) -> float:
    """Distance of the classifier's scores of the centred class means from those of a simplex.

    Undefined without W (K × d), where WM̄ᵀ is zero, and where d < K − 1, which has no room for a simplex.
    """
    return layer.distance_to_simplex(layer.classifier_weights @ layer.centered_class_means.T)
