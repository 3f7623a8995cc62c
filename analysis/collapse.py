"""Measure every layer of a feature set: from a command to a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

import torch

from analysis.applied_weights import AppliedWeights
from analysis.classes import ClassCounts, count_classes
from analysis.errors import UnknownLayer
from analysis.layer_report import report_layer
from analysis.layer_source import LayerSource
from analysis.metrics import REGISTRY
from analysis.report import Environment, LayerReport, Measurements, Report, SplitReport
from analysis.second_moments import CHEAP_MULTIPLY_ADDS, choose_way
from analysis.singular_values import LARGEST_GRAM
from analysis.statistics import LayerStatistics, Samples
from analysis.summary import summarize
from analysis.tiles import LayerTiles
from collapse_client.format import FeatureFile

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
        measurement = _Measurement(command, surroundings, features)
        layers = tuple(measurement.layer(index) for index in range(len(measurement.names)))
    catalogue = {name: REGISTRY[name].entry for name in measurement.metrics}
    summary = summarize(
        layers, catalogue, num_classes=len(measurement.class_counts), previous=surroundings.previous_report()
    )
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
        num_samples=sum(measurement.class_counts.values()),
        num_classes=len(measurement.class_counts),
        class_counts=_named(measurement.class_counts),
        catalogue=catalogue,
        layers=layers,
        summary=summary,
        warnings=(),
        timings={"reading_seconds": reading, "computing_seconds": total - reading, "total_seconds": total},
    )


class _Measurement:
    """The measuring of one feature set: what its layers have in common."""

    def __init__(self, command: MeasureCollapse, surroundings: Surroundings, features: Features) -> None:
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
        self._splits = count_classes(features.parts)
        self._first, *self._others = self._splits
        self.class_counts = self._splits[self._first]
        self._dims = {name: features.parts[0].dim(name) for name in features.layers}
        self._progress = _Progress(
            surroundings.progress,
            sizes=[PASSES * self._num_rows * self._dims[name] * len(self._splits) for name in self.names],
        )

    @property
    def _num_rows(self) -> int:
        """Samples in the files; every split reads them all."""
        return sum(part.num_samples for part in self._features.parts if isinstance(part, FeatureFile))

    def layer(self, index: int) -> LayerReport:
        """Measure the layer at this place of the report."""
        name = self.names[index]
        with self._progress.layer(index, name):
            first = self._split(name, self._first)
            others = {str(split): self._other_split(name, split) for split in self._others}
        return LayerReport(name=name, index=index, dim=self._dims[name], splits=others, **dict(first))

    def _other_split(self, name: str, split: int | None) -> SplitReport:
        counts = self._splits[split]
        return SplitReport(
            num_samples=sum(counts.values()),
            num_classes=len(counts),
            class_counts=_named(counts),
            **dict(self._split(name, split)),
        )

    def _split(self, name: str, split: int | None) -> Measurements:
        dim, labels = self._dims[name], tuple(self._splits[split])
        tiles = LayerTiles(
            [part for part in self._features.parts if isinstance(part, FeatureFile)],
            layer=name,
            dim=dim,
            labels=labels,
            split=split,
            device=self._surroundings.device,
            advance=lambda rows: self._progress.advance(rows * dim),
        )
        source = LayerSource(
            self._features.parts, layer=name, labels=labels, tiles=tiles, device=self._surroundings.device
        )
        way = choose_way(
            num_samples=sum(self._splits[split].values()),
            num_classes=len(labels),
            dim=dim,
            budget=self._second_moments_budget,
            has_samples=source.tiles is not None,
        )
        # Where d < K the d × d matrix is smaller than the K × K one that NC1 would need of the second pass.
        matrix = way == "columns" or dim < min(len(labels), LARGEST_GRAM)
        statistics = LayerStatistics(
            source.moments(dim=dim, second_moments="matrix" if matrix else "trace"),
            samples=Samples(
                tiles=source.tiles, projected_scatter=source.projected_scatter, ood_mean=source.ood_mean(dim)
            ),
            weights=self._weights(name, source, num_classes=len(labels)),
            rank_tolerance=self._command.rank_tolerance,
            class_weighting=self._command.class_weighting,
            second_moments=way,
        )
        measurements = report_layer(statistics, labels=labels, metrics=self.metrics, spectra=self._command.spectra)
        self.reading_seconds += tiles.reading_seconds
        return measurements

    @property
    def _second_moments_budget(self) -> float:
        """Multiply-adds for all second moments: any number where they are asked for, none where nothing needs them."""
        needed = any(REGISTRY[metric].entry.needs == "scatter_matrix" for metric in self.metrics)
        if "features" in self._command.spectra or (needed and self._command.metrics):
            return inf
        return CHEAP_MULTIPLY_ADDS if needed else 0.0

    def _weights(self, name: str, source: LayerSource, *, num_classes: int) -> AppliedWeights:
        order = list(self._features.layers)
        following = next(self._weights_of(order[order.index(name) + 1 :]), None)
        return AppliedWeights(
            layer=name,
            last_layer=order[-1],
            num_classes=num_classes,
            matrix=source.matrix("weights"),
            bias=source.matrix("biases"),
            following=following,
        )

    def _weights_of(self, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for name in names:
            for part in self._features.parts:
                weights = part.weights(name)
                if weights is not None:
                    yield name, torch.from_numpy(weights).to(self._surroundings.device)


class _Progress:
    """Counts the values read: layers differ in width, and the fraction shall be fair."""

    def __init__(self, tell: Callable[..., None], *, sizes: Sequence[int]) -> None:
        self._tell = tell
        self._sizes = sizes
        self._total = max(1, sum(sizes))
        self._phase = ""
        self._before = self._read = self._here = 0

    @contextmanager
    def layer(self, index: int, phase: str) -> Iterator[None]:
        """Everything that is read within belongs to this layer."""
        self._phase, self._before, self._here, self._read = phase, sum(self._sizes[:index]), self._sizes[index], 0
        if not self._here:
            self._tell(phase=phase, current=index, total=len(self._sizes))  # moments only: nothing is read in tiles
        yield

    def advance(self, values: int) -> None:
        """So many more; may raise to stop the work."""
        self._read = min(self._read + values, self._here)
        self._tell(phase=self._phase, current=self._before + self._read, total=self._total)


def _named(counts: ClassCounts) -> dict[str, int]:
    return {str(label): count for label, count in counts.items()}
