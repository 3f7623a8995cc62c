"""`measure_collapse` without the service around it: over one file, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from analysis.commands import MeasureCollapse
from analysis.metrics import REGISTRY
from collapse_client.format.features import FeatureFile

MORE_INPUT = {"variability_collapse_index", "balancedness", "bias_collapse", "out_of_distribution_orthogonality"}
"""Metrics for which the files of this benchmark lack something."""


class Here:
    """Surroundings in this process, over one file."""

    job_id = service_version = "benchmark"

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self.run: str | None = None
        self.step: int | None = None
        self.device = device
        self._path = path

    @contextlib.contextmanager
    def open_features(self, features_id: str) -> Iterator[SimpleNamespace]:
        """The file, whatever the id."""
        with FeatureFile.open(self._path, max_inflated_bytes=1 << 40) as file:
            yield SimpleNamespace(layers=file.layers, parts=[file])

    def previous_report(self) -> None:
        """There is none."""

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Nobody listens."""


def metric_names() -> tuple[str, ...]:
    """Every metric of the registry that needs neither the spectrum of the features nor what the files lack."""
    return tuple(name for name in REGISTRY if not name.startswith("feature_") and name not in MORE_INPUT)


def measure_file(path: Path, *, device: str = "cpu") -> list[dict[str, float]]:
    """The metrics of each layer, without those that are undefined."""
    command = MeasureCollapse(kind="measure_collapse", features="features", metrics=metric_names())
    layers = command.run(Here(path, device=device)).layers
    return [{name: value for name, value in layer.metrics.items() if value is not None} for layer in layers]
