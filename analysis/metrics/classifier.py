"""Class means as a classifier, and the classifier's weights against the class means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.errors import UndefinedMetric
from analysis.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.statistics import LayerStatistics

CENTRE = "mean of the class means, of all samples with class_weighting=sample; W as it is"
WEIGHTING = "every class alike"


@metric(
    formula="(1/N) #{i : argmin_c ‖h_i − μ_c‖ = y_i}",
    needs="samples",
    threshold=0.99,
    decides=True,
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
    return int(layer.nearest_center_hits.sum()) / layer.num_samples


@metric(
    formula="(1/N) #{i : argmax_c (Wh_i + b)_c ≠ argmin_c ‖h_i − μ_c‖}",
    needs="samples",
    threshold=0.01,
    ideal=0.0,
    scale="linear",
    direction="lower",
    scope="classifier",
    reference="Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS (NC4)",
    weighting="every sample alike",
    divisor="N",
)
def nearest_center_mismatch(layer: LayerStatistics) -> float:
    """Share of the samples for which the classifier picks another class than that of the nearest class mean.

    Without `biases.<layer>` b is 0. Rows of W stand for the classes in ascending order of label; of equal scores or
    distances the first class counts. Undefined without W (K × d).
    """
    return layer.classifier_disagreements / layer.num_samples


@metric(
    formula="‖ W/‖W‖ − M̄/‖M̄‖ ‖",
    threshold=0.1,
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
    weights, means = layer.weights.classifier, layer.centered_class_means
    return float((weights / weights.norm() - means / means.norm()).norm())


@metric(
    formula="‖ WM̄ᵀ/‖WM̄ᵀ‖ − (I − 11ᵀ/K)/√(K−1) ‖",
    threshold=0.1,
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
    return layer.distance_to_simplex(layer.weights.classifier @ layer.centered_class_means.T)


@metric(
    formula="mean_c 1 − cos(w_c, μ_c − μ_G)",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="classifier",
    reference="Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS (NC3, by angles)",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="K",
)
def self_duality_cosine(layer: LayerStatistics) -> float:
    """Mean angle between classifier and centred class means, as one minus the cosine.

    Undefined without W (K × d), where a row of W is zero and where a class mean lies on the global mean.
    """
    # 1 − cos = ‖u − v‖²/2 of the unit vectors, which loses no digits where the angle is small.
    return float((_unit_rows(layer) - layer.centered_directions).square().sum(dim=1).mean()) / 2


@metric(
    formula="var_c cos(w_c, μ_c − μ_G)",
    threshold=0.01,
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="classifier",
    reference="Wu, Papyan 2024, Linguistic Collapse, NeurIPS (UNC3)",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor="K",
)
def uniform_duality(layer: LayerStatistics) -> float:
    """Variance over the classes of the cosine between classifier and centred class mean.

    Undefined without W (K × d), where a row of W is zero and where a class mean lies on the global mean.
    """
    deviations = (_unit_rows(layer) - layer.centered_directions).square().sum(dim=1) / 2
    return float(deviations.var(correction=0))


def _unit_rows(layer: LayerStatistics) -> Tensor:
    weights = layer.weights.classifier
    norms = weights.norm(dim=1, keepdim=True)
    if not bool(norms.all()):
        raise UndefinedMetric("zero_weight_row", "a row of the classifier is zero and has no angle: send a trained one")
    rows: Tensor = weights / norms
    return rows
