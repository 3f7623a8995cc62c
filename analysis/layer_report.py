"""One layer's part of the report: every metric that was asked for, and a warning wherever there is no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from analysis.errors import UndefinedMetric
from analysis.metrics import REGISTRY, Measured
from analysis.report import LayerReport, Spectra, Warning
from analysis.spectra import feature_singular_values
from analysis.statistics import LayerStatistics

LARGEST_REPORTED_GRAM = 128
"""Classes up to which the K × K Gram matrix is in the report: 16 384 numbers."""

Result = TypeVar("Result")


class Notes:
    """Collects warnings; those of one reason become one."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[str, str], list[str]] = {}

    def add(self, code: str, detail: str, metrics: Iterable[str] = ()) -> None:
        """Note a reason, and the metrics that it touches."""
        self._metrics.setdefault((code, detail), []).extend(metrics)

    def try_to(self, compute: Callable[[], Result], *metrics: str) -> Result | None:
        """Compute; or note why that cannot be, and return None."""
        try:
            return compute()
        except UndefinedMetric as reason:
            self.add(reason.code, reason.detail, metrics)
            return None

    def warnings(self) -> tuple[Warning, ...]:
        """All of them, in the order in which they came up."""
        return tuple(
            Warning(code=code, metrics=tuple(metrics), detail=detail)
            for (code, detail), metrics in self._metrics.items()
        )


def report_layer(
    statistics: LayerStatistics,
    *,
    name: str,
    index: int,
    metrics: Sequence[str],
    spectra: Sequence[str],
    weights: Tensor | None,
    tiles: Iterable[tuple[Tensor, Tensor]],
) -> LayerReport:
    """Compute what was asked for; what is undefined becomes null, with a warning."""
    notes = Notes()
    values: dict[str, float | None] = {}
    details: dict[str, Mapping[str, float | int | str]] = {}
    for metric in metrics:
        measured = notes.try_to(partial(_measure, metric, statistics), metric)
        values[metric] = measured.value if measured else None
        if measured and measured.details:
            details[metric] = measured.details
        for warning in measured.warnings if measured else ():
            notes.add(warning.code, warning.detail, warning.metrics)
    singular_values = {
        "class_means": notes.try_to(lambda: statistics.class_mean_singular_values.tolist()),
        "features": notes.try_to(lambda: feature_singular_values(statistics, tiles).tolist())
        if "features" in spectra
        else None,
        "weights": torch.linalg.svdvals(weights).tolist() if "weights" in spectra and weights is not None else None,
    }
    return LayerReport(
        name=name,
        index=index,
        dim=statistics.dim,
        metrics=values,
        details=details,
        spectra=Spectra(**singular_values),
        class_mean_gram=notes.try_to(partial(_gram, statistics)),
        warnings=notes.warnings(),
    )


def _measure(metric: str, statistics: LayerStatistics) -> Measured:
    measured = REGISTRY[metric](statistics)
    if not math.isfinite(measured.value):
        raise UndefinedMetric("overflow", "the value overflows float64: scale the features towards 1")
    return measured


def _gram(statistics: LayerStatistics) -> list[list[float]]:
    if statistics.num_classes > LARGEST_REPORTED_GRAM:
        raise UndefinedMetric(
            "class_mean_gram_too_large",
            f"the Gram matrix of {statistics.num_classes} class means is left out of the report, which shows up to "
            f"{LARGEST_REPORTED_GRAM}: use the spectrum and the metrics of the class means",
        )
    gram: list[list[float]] = statistics.class_mean_gram.tolist()
    return gram
