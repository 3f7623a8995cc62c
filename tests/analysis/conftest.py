import contextlib
import runpy
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from jaxtyping import install_import_hook

# Before anything imports them: shapes and dtypes of every call are checked while the tests run.
install_import_hook(
    [
        f"analysis.{name}"
        for name in (
            "applied_weights",
            "between_class",
            "class_means",
            "decisions",
            "distances",
            "dufm.advice",
            "dufm.artifacts",
            "dufm.descent",
            "dufm.ensemble",
            "dufm.families.equivariant",
            "dufm.families.minimum",
            "dufm.families.network",
            "dufm.families.set_systems",
            "dufm.families.symmetry",
            "dufm.initial",
            "dufm.model",
            "dufm.recording",
            "dufm.rescaling",
            "dufm.structure",
            "residuals",
            "second_moments",
            "singular_values",
            "statistics",
            "strongly_regular",
            "structure",
            "tiles",
        )
    ],
    "beartype.beartype",
)

from analysis.applied_weights import AppliedWeights  # noqa: E402 (after the hook)
from analysis.commands import MeasureCollapse  # noqa: E402 (after the hook)
from analysis.statistics import LayerStatistics, Samples  # noqa: E402 (after the hook)
from collapse_client.format import open_features  # noqa: E402 (after the hook)
from collapse_client.format.moments import Moments  # noqa: E402 (after the hook)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def references():
    """The naive implementation of each metric, by name."""
    return runpy.run_path(str(Path(__file__).with_name("reference.py")))


class Parts:
    def __init__(self, parts):
        self.parts = parts
        self.layers = parts[0].layers


class Here:
    """Surroundings in this process, over files on disk."""

    job_id, run, step, device, service_version = "job_1", "run", 7, "cpu", "0.1.0"
    spread_bytes = None
    previous = None

    def __init__(self, paths):
        self._paths = paths
        self.heard = []

    @contextlib.contextmanager
    def open_features(self, features_id):
        with contextlib.ExitStack() as stack:
            files = (open_features(path, max_inflated_bytes=1 << 30) for path in self._paths)
            yield Parts([stack.enter_context(file) for file in files])

    def previous_report(self):
        return self.previous

    def progress(self, *, phase, current, total):
        self.heard.append((phase, current, total))


@pytest.fixture
def surroundings(tmp_path):
    """A factory: dictionaries of tensors, one for each part → surroundings over their files."""

    def make(*parts):
        paths = [tmp_path / f"{index}.safetensors" for index in range(len(parts))]
        for path, tensors in zip(paths, parts, strict=True):
            copies = {name: torch.as_tensor(values).contiguous().clone() for name, values in tensors.items()}
            safetensors.torch.save_file(copies, path)
        return Here(paths)

    return make


@pytest.fixture
def measure(surroundings):
    """A factory: parts, and parameters of the command → the report."""

    def make(*parts, **parameters):
        return MeasureCollapse(kind="measure_collapse", features="features_1", **parameters).run(surroundings(*parts))

    return make


@pytest.fixture
def measure_layer(measure):
    """A factory: features and labels of one layer → its part of the report."""

    def make(features, labels, weights=None, biases=None, ood=None, **parameters):
        sent = {"features": features, "weights": weights, "biases": biases, "ood": ood}
        tensors = {f"{kind}.last": values for kind, values in sent.items() if values is not None}
        return measure({"labels": labels, **tensors}, **parameters).layers[0]

    return make


@pytest.fixture(scope="session")
def statistics():
    """A factory: features and class indices 0 … K−1 → the layer's statistics, without files."""

    def make(features, class_indices, second_moments="trace", **options):
        features, class_indices = torch.as_tensor(features), torch.as_tensor(class_indices)
        num_classes = int(class_indices.max()) + 1
        moments = Moments(num_classes=num_classes, dim=features.shape[1], second_moments=second_moments)
        moments.update(features, class_indices)
        weights = AppliedWeights(layer="last", last_layer="last", num_classes=num_classes)
        samples = Samples(tiles=[(features, class_indices)])
        return LayerStatistics(moments, samples=samples, weights=weights, **options)

    return make


@pytest.fixture(scope="session")
def clusters():
    """A factory: noisy class means of a given rank → features (N, d) in float64, labels (N,), class means."""

    def make(*, sizes, dim, rank=None, noise=0.3, seed=0):
        generator = np.random.default_rng(seed)
        means = generator.normal(size=(len(sizes), dim))
        if rank is not None:
            means = generator.normal(size=(len(sizes), rank))
            means = (means - means.mean(axis=0)) @ generator.normal(size=(rank, dim)) / np.sqrt(rank)
        labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
        return means[labels] + noise * generator.normal(size=(len(labels), dim)), labels, means

    return make


@pytest.fixture(scope="session")
def simplex():
    """A factory: K class means of an exact simplex, K × K, rank K − 1, turned by an orthogonal matrix."""

    def make(num_classes, seed=0):
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(num_classes, num_classes)))[0]
        return (np.eye(num_classes) - 1 / num_classes) @ turn

    return make
