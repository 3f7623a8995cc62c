"""Ranks of four matrices by six measures, all of singular values s_1 ≥ s_2 ≥ … ≥ 0, and the gap to what theory has.

A measure is one entry of MEASURES, a matrix one entry of MATRICES; each of one with each of the other is a metric,
`<matrix>_<measure>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from analysis.errors import UndefinedMetric
from analysis.metrics.registry import Measured, metric
from analysis.report import Needs, Scope

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.statistics import LayerStatistics

SUKENIK = "Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS"


@dataclass(frozen=True)
class Matrix:
    """One of the matrices whose ranks are measured; `named` as a title has it."""

    named: str
    singular_values: Callable[[LayerStatistics], Tensor]
    ideal: str | None
    zero: str
    """what it means if all are zero"""
    centre: str | None = None
    weighting: str | None = None
    scope: Scope = "layer"
    needs: Needs = "means"
    resolution: float = 0.0
    """share of s_1 below which singular values are lost"""


MATRICES = {
    "class_mean": Matrix(
        named="the class means",
        singular_values=lambda layer: layer.class_mean_singular_values,
        ideal="K for an orthogonal frame, K-1 for a simplex",
        zero="all class means are zero: the layer is dead, send another one",
        centre="none",
        weighting="every class alike",
    ),
    "centered_class_mean": Matrix(
        named="the centred class means",
        singular_values=lambda layer: layer.centered_class_mean_singular_values,
        ideal="K-1",
        zero="all class means coincide: check that the layer carries its input at all",
        centre="mean of the class means; the mean of all samples with class_weighting=sample",
        weighting="every class alike",
    ),
    "feature": Matrix(
        named="the features",
        singular_values=lambda layer: layer.feature_singular_values,
        ideal="that of the class means",
        zero="all features are zero: the layer is dead, send another one",
        centre="none",
        weighting="every sample alike",
        needs="scatter_matrix",
        resolution=1e-7,
    ),
    "weight": Matrix(
        named="the weights applied to the features",
        singular_values=lambda layer: layer.weights.singular_values,
        ideal="that of the class means",
        zero="the weights are all zero: send trained ones",
        scope="weights",
    ),
}


@dataclass(frozen=True)
class Measure:
    """One way to say how many of the singular values count; the function sees them as shares of s_1."""

    title: str
    formula: str
    function: Callable[[Tensor], float]
    reference: str


MEASURES = {
    "stable_rank": Measure(
        title="Stable rank",
        formula="Σ s² / s_1²",
        function=lambda s: float(s.square().sum()),
        reference="Rudelson, Vershynin 2007, Sampling from Large Matrices, JACM",
    ),
    "effective_rank": Measure(
        title="Effective rank, the exponential of the entropy of the singular values",
        formula="exp(−Σ p log p), p = s / Σ s",
        function=lambda s: _exponential_entropy(s / s.sum()),
        reference="Roy, Vetterli 2007, The Effective Rank, EUSIPCO",
    ),
    "participation_ratio": Measure(
        title="Participation ratio of the squared singular values",
        formula="(Σ s²)² / Σ s⁴",
        function=lambda s: float(s.square().sum() ** 2 / s.pow(4).sum()),
        reference="Gao, Trautmann, Yu, Santhanam, Ryu, Shenoy, Ganguli 2017, A Theory of Multineuronal Dimensionality",
    ),
    "nuclear_rank": Measure(
        title="Nuclear rank",
        formula="(Σ s)² / Σ s²",
        function=lambda s: float(s.sum() ** 2 / s.square().sum()),
        reference="Ipsen, Saibaba 2024, Stable Rank and Intrinsic Dimension of Real and Complex Matrices",
    ),
    "rankme": Measure(
        title="RankMe: effective rank with a floor under the shares",
        formula="exp(−Σ p log p), p = s / Σ s + 1e-7",
        function=lambda s: _exponential_entropy(s / s.sum() + 1e-7),
        reference="Garrido, Balestriero, Najman, LeCun 2023, RankMe, ICML",
    ),
}


def _exponential_entropy(shares: Tensor) -> float:
    return float((-shares.xlogy(shares).sum()).exp())


def numerical_rank(layer: LayerStatistics, matrix: Matrix) -> int:
    """#{k : s_k > rank_tolerance · s_1}; 0 of a matrix of zeros."""
    if layer.rank_tolerance < matrix.resolution:
        raise UndefinedMetric(
            "tolerance_too_small",
            f"singular values of {matrix.named} under {matrix.resolution:g} of the largest are lost in rounding, and "
            f"rank_tolerance is {layer.rank_tolerance:g}: take a larger one",
        )
    values = matrix.singular_values(layer)
    return int((values > layer.rank_tolerance * values[0]).sum())


def _register(name: str, matrix: Matrix) -> None:
    """Make a metric of every measure of one matrix."""

    @metric(
        name=f"{name}_rank",
        title=f"Numerical rank of {matrix.named}",
        formula="#{k : s_k > rank_tolerance · s_1}",
        ideal=matrix.ideal,
        scale="linear",
        direction=None,
        scope=matrix.scope,
        needs=matrix.needs,
        reference=SUKENIK,
        centre=matrix.centre,
        weighting=matrix.weighting,
    )
    def rank(layer: LayerStatistics) -> Measured:
        """The tolerance comes with the value: the rule of the machine epsilon would count noise."""
        return Measured(numerical_rank(layer, matrix), {"tolerance": layer.rank_tolerance})

    for measure_name, measure in MEASURES.items():

        @metric(
            name=f"{name}_{measure_name}",
            title=f"{measure.title}, of {matrix.named}",
            formula=measure.formula,
            ideal=matrix.ideal,
            scale="linear",
            direction=None,
            scope=matrix.scope,
            needs=matrix.needs,
            reference=measure.reference,
            centre=matrix.centre,
            weighting=matrix.weighting,
        )
        def value(layer: LayerStatistics, measure: Measure = measure) -> float:
            """Undefined where all singular values are zero."""
            values = matrix.singular_values(layer)
            if not bool(values[0] > 0):
                raise UndefinedMetric(f"zero_{name}s", matrix.zero)
            return measure.function(values / values[0])


for _name, _matrix in MATRICES.items():
    _register(_name, _matrix)


@metric(
    formula="K − class_mean_rank",
    ideal="0 for an orthogonal frame, 1 for a simplex",
    scale="linear",
    direction=None,
    reference=SUKENIK,
    centre="none",
    weighting="every class alike",
)
def low_rank_gap(layer: LayerStatistics) -> Measured:
    """Ranks by which the class means fall short of those of deep neural collapse.

    Details: the ranks of deep neural collapse, K of the orthogonal frame and K − 1 of the simplex, and that of the
    strongly regular graph (SRG) solution, the r of K = r(r−1)/2, about √(2K); not whole where K is no such number.
    """
    rank = numerical_rank(layer, MATRICES["class_mean"])
    return Measured(
        layer.num_classes - rank,
        {
            "rank": rank,
            "orthogonal_frame_rank": layer.num_classes,
            "simplex_rank": layer.num_classes - 1,
            "srg_rank": srg_rank(layer.num_classes),
        },
    )


def srg_rank(num_classes: int) -> float:
    """The r of K = r(r−1)/2 classes.

    >>> srg_rank(10), round(srg_rank(12), 2)
    (5.0, 5.42)
    """
    return (1 + sqrt(1 + 8 * num_classes)) / 2
