"""One layer's part of the report: every metric that was asked for, and a warning wherever there is no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from torch import Tensor

from analysis.class_means import finite
from analysis.errors import UndefinedMetric
from analysis.metrics import REGISTRY, Measured
from analysis.report import ClassReport, Measurements, Spectra, Warning
from analysis.statistics import LayerStatistics
from analysis.structure import find_structure
from analysis.structure_report import Structure

LARGEST_REPORTED_GRAM = 128
"""Classes up to which the K × K Gram matrix is in the report: 16 384 numbers."""
LARGEST_REPORTED_CLASSES = 1024
"""Classes up to which each one's values are in the report."""

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
    statistics: LayerStatistics, *, labels: Sequence[int], metrics: Sequence[str], spectra: Sequence[str]
) -> Measurements:
    """Compute what was asked for; what is undefined becomes null, with a warning. labels: the classes, ascending."""
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
    return Measurements(
        metrics=values,
        details=details,
        ranks_used={metric: int(detail["rank_used"]) for metric, detail in details.items() if "rank_used" in detail},
        spectra=_spectra(statistics, spectra, notes),
        class_mean_gram=notes.try_to(partial(_gram, statistics)),
        structure=notes.try_to(partial(_structure, statistics, labels)),
        per_class=notes.try_to(partial(_per_class, statistics, labels, values)),
        warnings=notes.warnings(),
    )


def _spectra(statistics: LayerStatistics, asked_for: Sequence[str], notes: Notes) -> Spectra:
    def spectrum(compute: Callable[[], Tensor]) -> tuple[float, ...] | None:
        return notes.try_to(lambda: tuple(compute().tolist()))

    return Spectra(
        class_means=spectrum(lambda: statistics.class_mean_singular_values),
        features=spectrum(lambda: statistics.feature_singular_values) if "features" in asked_for else None,
        weights=spectrum(lambda: statistics.weights.singular_values)
        if "weights" in asked_for and statistics.weights.matrix is not None
        else None,
    )


def _structure(statistics: LayerStatistics, labels: Sequence[int]) -> Structure:
    return find_structure(statistics.class_mean_gram, statistics.evenly_centered_gram, labels)


def _per_class(
    statistics: LayerStatistics, labels: Sequence[int], values: Mapping[str, float | None]
) -> tuple[ClassReport, ...]:
    _require_few_classes(statistics, LARGEST_REPORTED_CLASSES, "per_class_too_large", "the values of single classes")
    counts = statistics.samples_per_class
    variances = _or_none(lambda: finite(statistics.class_scatter / counts, "the variances").tolist())
    norms = _or_none(lambda: statistics.centered_norms.tolist())
    measured = values.get("nearest_center_accuracy") is not None
    # Integers divided by integers would be float32.
    accuracies = (statistics.nearest_center_hits.double() / counts).tolist() if measured else None
    neighbours = _or_none(lambda: statistics.nearest_classes)
    return tuple(
        ClassReport(
            label=label,
            count=int(counts[index]),
            variance=variances[index] if variances and counts[index] > 1 else None,
            norm=norms[index] if norms else None,
            nearest_center_accuracy=accuracies[index] if accuracies else None,
            nearest_class=labels[neighbours[0][index]] if neighbours else None,
            nearest_class_distance=neighbours[1][index] if neighbours else None,
        )
        for index, label in enumerate(labels)
    )


def _or_none(compute: Callable[[], Result]) -> Result | None:
    """The values, or None where they are undefined: the metrics of the same quantity say why."""
    try:
        return compute()
    except UndefinedMetric:
        return None


def _measure(metric: str, statistics: LayerStatistics) -> Measured:
    measured = REGISTRY[metric](statistics)
    if not math.isfinite(measured.value):
        raise UndefinedMetric("overflow", "the value overflows float64: scale the features towards 1")
    return measured


def _gram(statistics: LayerStatistics) -> tuple[tuple[float, ...], ...]:
    _require_few_classes(statistics, LARGEST_REPORTED_GRAM, "class_mean_gram_too_large", "the inner products")
    return tuple(map(tuple, statistics.class_mean_gram.tolist()))


def _require_few_classes(statistics: LayerStatistics, most: int, code: str, what: str) -> None:
    if statistics.num_classes > most:
        raise UndefinedMetric(
            code,
            f"{what} of {statistics.num_classes} class means are left out of the report, which shows those of up to "
            f"{most}: use the spectrum and the metrics of the class means",
        )
