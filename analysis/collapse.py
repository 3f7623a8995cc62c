"""Measure every layer of a feature set: from a command to a report."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from analysis.measurement import Measurement, named
from analysis.metrics import REGISTRY
from analysis.origin import Origin
from analysis.report import Environment, LayerReport, MetricEntry, Report
from analysis.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.classes import ClassCounts
    from analysis.commands import Command, MeasureCollapse, Surroundings


def measure(command: MeasureCollapse, surroundings: Surroundings) -> Report:
    """Measure the layers that the command names, tile by tile, in memory that does not grow with the samples.

    Raises UnknownLayer for a layer that the features do not have, FormatError where a file turns out to be broken, and
    lets through what `surroundings.progress` raises.
    """
    started = time.perf_counter()
    with surroundings.open_features(command.features) as features:
        return measure_origin(command, surroundings, Origin.of_files(features), started=started)


def measure_origin(
    command: MeasureCollapse,
    surroundings: Surroundings,
    origin: Origin,
    *,
    started: float,
    children_seconds: float | None = None,
) -> Report:
    """The same of what is open already; `children_seconds`: what others have spent on it before, all together."""
    measurement = Measurement(command, surroundings, origin)
    layers = tuple(measurement.layer(index) for index in range(len(measurement.names)))
    catalogue = {name: REGISTRY[name].entry for name in measurement.metrics}
    summary = summarize(
        layers, catalogue, num_classes=len(measurement.class_counts), previous=surroundings.previous_report()
    )
    total, reading = time.perf_counter() - started, measurement.reading_seconds
    return report_of(
        command,
        surroundings,
        measurement.class_counts,
        catalogue=catalogue,
        layers=layers,
        timings={
            "reading_seconds": reading,
            "computing_seconds": total - reading,
            "total_seconds": total,
            **({} if children_seconds is None else {"children_seconds": children_seconds}),
        },
    ).model_copy(update={"summary": summary})


def report_of(
    command: Command,
    surroundings: Surroundings,
    class_counts: ClassCounts,
    *,
    timings: Mapping[str, float],
    catalogue: Mapping[str, MetricEntry] | None = None,
    layers: tuple[LayerReport, ...] = (),
) -> Report:
    """A report on features, with what every report says of where it was made."""
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
        num_samples=sum(class_counts.values()),
        num_classes=len(class_counts),
        class_counts=named(class_counts),
        catalogue=dict(catalogue or {}),
        layers=layers,
        warnings=(),
        timings=dict(timings),
    )
