"""Variability: how far the samples lie from their class mean, against how far the class means lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.metrics.geometry import CENTRE
from analysis.metrics.registry import Measured, metric
from analysis.report import Warning

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics

WEIGHTING = "within: every sample alike; between: every class alike, or every sample with class_weighting=sample"
DIVISOR = "Σ_W by N, Σ_B by K (by N with class_weighting=sample)"


@metric(
    formula="tr Σ_W / tr Σ_B",
    needs="scatter",
    threshold=0.1,
    decides=True,
    ideal=0.0,
    scale="log",
    direction="lower",
    reference="Tirer, Huang, Niles-Weed 2023, Perturbation Analysis of Neural Collapse, ICML",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor=DIVISOR,
)
def variability_trace_ratio(layer: LayerStatistics) -> float:
    """Within-class over between-class variance.

    Σ_W = (1/N) Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ and Σ_B = Σ_c p_c (μ_c − μ_G)(μ_c − μ_G)ᵀ, p_c = 1/K, or n_c/N with
    class_weighting=sample. No inverse is taken, so that class means of low rank do no harm.

    Undefined where all class means coincide.
    """
    return layer.within_class_trace / layer.between_class_trace


@metric(
    formula="tr(Σ_W Σ_B⁺) / K",
    needs="projected_scatter",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    reference="Papyan, Han, Donoho 2020, Prevalence of Neural Collapse, PNAS (NC1)",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor=DIVISOR,
)
def within_class_variability(layer: LayerStatistics) -> Measured:
    """Within-class variability relative to the class means, direction by direction (NC1).

    The pseudo-inverse takes the directions of Σ_B that stand out of rounding and of the noise of the estimated means
    (`analysis.between_class`): rank_used of them, those whose singular value of M̄ (its rows times √(K p_c)) is above
    `cut`; bound_by says what set their number. Undefined where none stands out.
    """
    directions, projected = layer.between_class_directions, layer.within_class_variances
    value = float((projected / directions.eigenvalues).sum()) / layer.num_classes
    details = {"rank_used": directions.rank, "cut": directions.cut, "bound_by": directions.bound_by}
    full = min(layer.num_classes - 1, layer.dim)
    if directions.rank == full:
        return Measured(value, details)
    return Measured(
        value,
        details,
        (
            Warning(
                code="low_rank_class_means",
                metrics=("within_class_variability",),
                detail=f"the class means have rank {directions.rank}, not {full}: the classical pseudo-inverse would "
                "divide by the noise of the others; compare such values only at equal rank_used, or use "
                "variability_trace_ratio",
            ),
        ),
    )


@metric(
    formula="mean over pairs i < j of (v_i + v_j) / (2 ‖μ_i − μ_j‖²), v_c = (1/n_c) Σ ‖h − μ_c‖²",
    needs="scatter",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    reference="Galanti, György, Hutter 2022, On the Role of Neural Collapse in Transfer Learning, ICLR (CDNV)",
    weighting="every pair of classes alike",
    divisor="v_c by n_c, the mean by K(K−1)/2",
)
def class_distance_normalized_variance(layer: LayerStatistics) -> float:
    """Class-distance normalised variance.

    Undefined where two class means coincide, and where a class has one sample, whose variance says nothing.
    """
    return float((layer.pairwise_variances / (2 * layer.pairwise_squared_distances)).mean())


@metric(
    formula="1 − tr(Σ_T⁺ Σ_B) / min(d, K−1), Σ_T = Σ_W + Σ_B",
    needs="scatter_matrix",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    reference="Xu, Liu 2023, Quantifying the Variability Collapse of Neural Networks, ICML (VCI)",
    centre=CENTRE,
    weighting=WEIGHTING,
    divisor=DIVISOR,
)
def variability_collapse_index(layer: LayerStatistics) -> Measured:
    """Variability collapse index: the share of the class means' directions that within-class variance still fills.

    Directions of Σ_T that are zero but for rounding are left out of its pseudo-inverse. Class means of rank r < K − 1
    leave 1 − r/min(d, K−1) however far they collapse. Undefined where all class means coincide.
    """
    _ = layer.between_class_trace
    value = 1 - layer.second_moments.between_class_share() / min(layer.dim, layer.num_classes - 1)
    # What is 0 may come out as less by rounding.
    value, freedom = max(value, 0.0), layer.num_samples - layer.num_classes
    if freedom >= layer.dim:
        return Measured(value)
    return Measured(
        value,
        warnings=(
            Warning(
                code="fewer_samples_than_dimensions",
                metrics=("variability_collapse_index",),
                detail=f"N − K = {freedom} residuals cannot fill d = {layer.dim} dimensions: the value tends to 0 "
                "whether features collapse or not; send more samples",
            ),
        ),
    )
