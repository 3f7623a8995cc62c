"""Samples that belong to no class, against the class means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.errors import UndefinedMetric
from analysis.metrics.registry import metric

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics


@metric(
    formula="mean_c |⟨μ_c, μ_ood⟩| / (‖μ_c‖ ‖μ_ood‖)",
    threshold=0.1,
    ideal=0.0,
    scale="log",
    direction="lower",
    reference="Ammar, Belkhir, Popescu, Manzanera, Franchi 2024, NECO, ICLR (NC5)",
    centre="none",
    weighting="every class alike; μ_ood: every unlabelled sample alike",
    divisor="K",
)
def out_of_distribution_orthogonality(layer: LayerStatistics) -> float:
    """Mean cosine, in size, between the class means and the mean of samples from outside the classes.

    Undefined without `ood.<layer>`, and where that mean or a class mean is zero.
    """
    mean, norms = layer.ood_mean, layer.class_means.norm(dim=1)
    if not bool(norms.all()) or not bool(mean.any()):
        raise UndefinedMetric("zero_mean", "a class mean, or that of the ood samples, is zero and has no angle")
    return float((layer.class_means @ (mean / mean.norm()) / norms).abs().mean())
