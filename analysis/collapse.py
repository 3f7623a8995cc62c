"""Measure every layer of a feature set: from a command to a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analysis.errors import UndefinedMetric, UnknownLayer
from analysis.layer_report import report_layer
from analysis.metrics import REGISTRY
from analysis.report import Environment, LayerReport, Report
from analysis.spectra import needs_residual_gram
from analysis.statistics import LayerStatistics
from analysis.tiles import LayerTiles, find_classes
from collapse_client.format.moments import Moments

if TYPE_CHECKING:
    from analysis.commands import Features, MeasureCollapse, Surroundings

PASSES = 2
"""Over the samples of a layer, for progress; one that no metric needs counts as done when the layer is."""


def measure(command: MeasureCollapse, surroundings: Surroundings) -> Report:
    """Measure the layers that the command names, tile by tile, in memory that does not grow with the samples.

    Raises UnknownLayer for a layer that the features do not have, FormatError where a file turns out to be broken, and
    lets through what `surroundings.progress` raises.
    """
    started = time.perf_counter()
    with surroundings.open_features(command.features) as features:
        measurement = _Measurement(command, surroundings, features, find_classes(features.parts))
        layers = tuple(measurement.layer(index) for index in range(len(measurement.names)))
    total, reading = time.perf_counter() - started, measurement.reading_seconds
    return Report(
        job_id=surroundings.job_id,
        kind=command.kind,
        run=surroundings.run,
        step=surroundings.step,
        created_at=datetime.now(UTC),
        environment=Environment(
            service_version=surroundings.service_version,
            torch_version=str(torch.__version__),
            device=surroundings.device,
            dtype="float64",
        ),
        num_samples=measurement.num_samples,
        num_classes=len(measurement.class_counts),
        class_counts={str(label): count for label, count in measurement.class_counts.items()},
        catalogue={name: REGISTRY[name].entry for name in measurement.metrics},
        layers=layers,
        warnings=(),
        timings={"reading_seconds": reading, "computing_seconds": total - reading, "total_seconds": total},
    )


class _Measurement:
    """The measuring of one feature set: what its layers have in common."""

    def __init__(
        self, command: MeasureCollapse, surroundings: Surroundings, features: Features, class_counts: dict[int, int]
    ) -> None:
        self.class_counts = class_counts
        self.num_samples = sum(class_counts.values())
        self.metrics = command.metrics or tuple(REGISTRY)
        self.names = command.layers or tuple(features.layers)
        self.reading_seconds = 0.0
        self._command = command
        self._surroundings = surroundings
        self._features = features
        unknown = [name for name in self.names if name not in features.layers]
        if unknown:
            raise UnknownLayer(
                "invalid_request",
                f"the features have no layer {unknown[0]!r}: their layers are {', '.join(map(repr, features.layers))}",
            )
        tensors = features.parts[0].tensors
        self._dims = [tensors[f"features.{name}"].row_size for name in self.names]

    def layer(self, index: int) -> LayerReport:
        """Measure the layer at this place of the report."""
        name, dim, device = self.names[index], self._dims[index], self._surroundings.device
        tiles = LayerTiles(
            self._features.parts,
            layer=name,
            dim=dim,
            labels=tuple(self.class_counts),
            device=device,
            advance=self._progress(index),
        )
        moments = Moments(num_classes=len(self.class_counts), dim=dim, device=device)
        for samples, class_indices in tiles:
            moments.update(samples, class_indices)
        weights = self._weights(name)
        spectra = self._command.spectra
        statistics = LayerStatistics(
            moments,
            tiles=tiles,
            classifier=self._classifier(name, weights),
            rank_tolerance=self._command.rank_tolerance,
            full_residual_gram="features" in spectra and needs_residual_gram(num_samples=self.num_samples, dim=dim),
        )
        report = report_layer(
            statistics,
            name=name,
            index=index,
            metrics=self.metrics,
            spectra=spectra,
            weights=weights,
            tiles=tiles,
        )
        self.reading_seconds += tiles.reading_seconds
        return report

    def _progress(self, index: int) -> Callable[[int], None]:
        """A listener that counts the values read: layers differ in width, and the fraction shall be fair."""
        passes = [PASSES * self.num_samples * dim for dim in self._dims]
        before, here, total = sum(passes[:index]), passes[index], sum(passes)
        name, dim = self.names[index], self._dims[index]
        read = 0

        def advance(rows: int) -> None:
            nonlocal read
            read = min(read + rows * dim, here)
            self._surroundings.progress(phase=name, current=before + read, total=total)

        return advance

    def _weights(self, name: str) -> Tensor | None:
        for part in self._features.parts:
            weights = part.weights(name)
            if weights is not None:
                return torch.from_numpy(weights).to(self._surroundings.device)
        return None

    def _classifier(self, name: str, weights: Tensor | None) -> Tensor | UndefinedMetric:
        last, num_classes = self._features.layers[-1], len(self.class_counts)
        if name != last:
            return UndefinedMetric(
                "not_the_classifier", f"the classifier belongs to the last layer, {last!r}: look there"
            )
        if weights is None:
            return UndefinedMetric(
                "no_classifier_weights", f"there is no tensor 'weights.{name}': send the classifier (K × d) with it"
            )
        if len(weights) != num_classes:
            return UndefinedMetric(
                "weights_do_not_fit",
                f"'weights.{name}' has {len(weights)} rows and the labels {num_classes} classes: send samples of every "
                "class that the classifier knows, in the order of its rows",
            )
        return weights
