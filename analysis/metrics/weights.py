"""The matrix applied to a layer's features: against the class means that it sees, and against the next matrix."""

from __future__ import annotations

from math import hypot
from typing import TYPE_CHECKING

from analysis.errors import UndefinedMetric
from analysis.metrics.registry import Measured, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.statistics import LayerStatistics

ROWS = 256
"""Of the weights that are looked at together: memory does not grow with their number."""
DEEP = "Súkeník, Mondelli, Lampert 2023, Deep Neural Collapse Is Provably Optimal, NeurIPS (DNC3)"


@metric(
    formula="‖W_l(I − P)‖ / ‖W_l‖, P the projection on the span of the class means",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="weights",
    reference=DEEP,
    centre="none",
    weighting="every class alike",
    divisor="Frobenius norms, no divisor",
)
def weight_alignment(layer: LayerStatistics) -> Measured:
    """Share of the weights that lies outside the span of the class means they are applied to.

    The span is that of the singular directions of M (not centred) above rank_tolerance · s_1: rank_used of them.
    Undefined without W_l, where it is zero, and where all class means are zero.
    """
    weights, span = layer.weights.given, layer.class_mean_span
    # What is inside is taken off, and not by the difference of squares, which cannot tell 0 from 1e-8.
    outside = hypot(*(float((rows - rows @ span.T @ span).norm()) for rows in _split(weights)))
    details = {"rank_used": len(span), "tolerance": layer.rank_tolerance}
    return Measured(outside / float(weights.norm()), details)


@metric(
    formula="Σ_j ‖w_j‖ sin θ_j / Σ_j ‖w_j‖, θ_j the angle of row w_j to its nearest class mean",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="weights",
    reference=DEEP,
    centre="none",
    weighting="every row by its norm",
    divisor="Σ_j ‖w_j‖",
)
def row_alignment(layer: LayerStatistics) -> float:
    """Mean sine of the angle between each row of the weights and the class mean of largest cosine.

    Class means are not centred; those that are zero have no angle and are left out, as rows of zeros are. Undefined
    without W_l, where it is zero, and where all class means are zero.
    """
    mean_norms = layer.class_means.norm(dim=1)
    if not bool(mean_norms.any()):
        raise UndefinedMetric("zero_class_means", "all class means are zero: the layer is dead, send another one")
    directions = layer.class_means[mean_norms > 0] / mean_norms[mean_norms > 0][:, None]
    away = total = 0.0
    for rows in _split(layer.weights.given):
        nearest = directions[(rows @ directions.T).argmax(dim=1)]
        # The sine by the length of what is left of the row, and not by √(1 − cos²), which cannot tell 0 from 1e-8.
        along = (rows * nearest).sum(dim=1)[:, None]
        away += float((rows - along * nearest).norm(dim=1).sum())
        total += float(rows.norm(dim=1).sum())
    return away / total


@metric(
    formula="‖W_{l+1}ᵀW_{l+1} − W_lW_lᵀ‖ / (‖W_l‖ ‖W_{l+1}‖)",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="weights",
    reference="Arora, Cohen, Hazan 2018, On the Optimization of Deep Networks, ICML; Súkeník et al. 2024",
    divisor="Frobenius norms, no divisor",
)
def balancedness(layer: LayerStatistics) -> float:
    """Distance between the Gram matrices that two neighbouring weight matrices have on the layer between them.

    W_{l+1} are the weights of the next layer that has any. Undefined without both, where they do not fit each other
    (as around a convolution), and where one is zero.
    """
    weights, following = layer.weights.given, layer.weights.next
    difference = following.T @ following - weights @ weights.T
    return float(difference.norm() / weights.norm() / following.norm())


@metric(
    formula="‖b + Wμ_G‖",
    ideal=0.0,
    scale="log",
    direction="lower",
    scope="weights",
    reference="Zhu, Ding, Zhou, Li, You, Sulam, Qu 2021, A Geometric Analysis of Neural Collapse, NeurIPS",
    centre="μ_G: mean of the class means; the mean of all samples with class_weighting=sample",
    weighting="every class alike",
    divisor="none: in units of the layer's output",
)
def bias_collapse(layer: LayerStatistics) -> float:
    """Length of what the layer makes of the global mean: 0 where the bias takes out just that.

    Undefined without `weights.<layer>` or `biases.<layer>`.
    """
    return float((layer.weights.biases + layer.weights.given @ layer.global_mean).norm())


def _split(weights: Tensor) -> tuple[Tensor, ...]:
    rows: tuple[Tensor, ...] = weights.split(ROWS)  # type: ignore[no-untyped-call]  # torch has none here
    return rows
