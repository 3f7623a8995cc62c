"""What must not change the numbers: rotation, scale, offset, order, names, dtype, tiles and parts."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from metrics_of_layers import assert_same_metrics

from analysis import tiles
from analysis.metrics import REGISTRY

# By definition these see where the origin is, or what the weights make of it.
UNCENTRED = {
    "orthogonal_frame_distance",
    "low_rank_gap",
    "weight_alignment",
    "row_alignment",
    "bias_collapse",
    "nearest_center_mismatch",
    "out_of_distribution_orthogonality",
} | {name for name in REGISTRY if name.startswith(("class_mean_", "feature_"))}
SIZES = [200, 60, 20, 6, 2]


@dataclass(frozen=True)
class Sent:
    """All that is sent of one layer."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    ood: np.ndarray

    def but(self, **changes):
        return replace(self, **changes)


@pytest.fixture
def make(clusters):
    def make(noise=0.5):
        features, labels, weights = clusters(sizes=SIZES, dim=8, noise=noise)
        generator = np.random.default_rng(9)
        return Sent(features, labels, weights, generator.normal(size=5), generator.normal(size=(7, 8)) + 0.3)

    return make


@pytest.fixture
def data(make):
    return make()


@pytest.fixture
def measured(measure_layer):
    def measured(sent, **parameters):
        return measure_layer(sent.features, sent.labels, sent.weights, sent.biases, sent.ood, **parameters)

    return measured


def turn(dim):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(dim, dim)))[0]


def test_rotation(data, measured):
    rotated = data.but(features=data.features @ turn(8), weights=data.weights @ turn(8), ood=data.ood @ turn(8))
    assert_same_metrics(measured(rotated), measured(data), rel=1e-10)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scale(factor, data, measured):
    scaled = data.but(features=factor * data.features, weights=data.weights / factor, ood=factor * data.ood)
    assert_same_metrics(measured(scaled), measured(data), rel=1e-10)


@pytest.mark.parametrize("weighting", ["balanced", "sample"])
@pytest.mark.parametrize(("offset", "rel"), [(1e3, 1e-6), (1e5, 1e-3)])
@pytest.mark.parametrize("noise", [0.5, 1e-3])
def test_offset(offset, rel, noise, weighting, make, measured):
    data = make(noise)
    # On a grid of 2⁻³⁰ the sums with the offset are exact: what differs is ours.
    data = data.but(features=np.round(data.features * 2**30) / 2**30)
    moved = measured(data.but(features=data.features + offset), class_weighting=weighting)
    still = measured(data, class_weighting=weighting)
    assert_same_metrics(moved, still, rel=rel, names=set(REGISTRY) - UNCENTRED)
    assert moved.metrics["nearest_center_accuracy"] == still.metrics["nearest_center_accuracy"]
    assert moved.structure.kind == still.structure.kind


@pytest.mark.parametrize(("offset", "rel"), [(1e3, 1e-6), (1e5, 1e-3)])
def test_offset_in_float32(offset, rel, data, references, measured):
    """The values that float32 holds at this offset are measured as exactly as any."""
    moved = (data.features + offset).astype(np.float32)
    layer = measured(data.but(features=moved))
    seen = references["Data"](moved.astype(np.float64) - offset, data.labels, data.weights, data.biases, None, data.ood)
    for name in set(REGISTRY) - UNCENTRED - {"balancedness"}:
        assert layer.metrics[name] == pytest.approx(float(references[name](seen)), rel=rel), name


def test_order_of_samples(data, measured):
    order = np.random.default_rng(2).permutation(len(data.labels))
    shuffled = data.but(features=data.features[order], labels=data.labels[order])
    assert_same_metrics(measured(shuffled), measured(data), rel=1e-10)


def test_names_of_classes(data, measured):
    names = np.array([40, 3, 22, 7, 11])
    order = np.argsort(names)
    renamed = data.but(labels=names[data.labels], weights=data.weights[order], biases=data.biases[order])
    assert_same_metrics(measured(renamed), measured(data), rel=1e-10)


def test_weighting_says_nothing_where_classes_are_of_one_size(clusters, measure_layer):
    features, labels, weights = clusters(sizes=[30] * 5, dim=8)
    balanced, sample = (measure_layer(features, labels, weights, class_weighting=w) for w in ("balanced", "sample"))
    assert_same_metrics(sample, balanced, rel=1e-10)


@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float16, 2e-2), (torch.bfloat16, 2e-1), (torch.float32, 1e-5), (torch.float64, 0)]
)
def test_dtype(dtype, rel, data, measured):
    stored = torch.as_tensor(data.features).to(dtype)
    layer = measured(data.but(features=stored))
    assert_same_metrics(layer, measured(data.but(features=stored.to(torch.float64))), rel=1e-12)
    # Counts of samples at a boundary move by whole samples.
    assert_same_metrics(layer, measured(data), rel=rel, names=set(REGISTRY) - {"nearest_center_mismatch"})


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_size_of_tiles(rows, data, measured, monkeypatch):
    whole = measured(data, spectra=["features"])
    monkeypatch.setitem(tiles.TILE_BYTES, "cpu", rows * 8 * data.features.shape[1])
    tiled = measured(data, spectra=["features"])
    assert_same_metrics(tiled, whole, rel=1e-10)
    assert tiled.spectra.features == pytest.approx(whole.spectra.features, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dim", [8, 400])
def test_parts_in_odd_splits_and_any_order(seed, dim, clusters, measure):
    features, labels, weights = clusters(sizes=SIZES, dim=dim, noise=0.5)
    whole = measure({"labels": labels, "features.last": features, "weights.last": weights}, spectra=["features"])
    generator = np.random.default_rng(seed)
    edges = [0, *sorted(generator.choice(np.arange(1, len(labels)), size=4, replace=False)), len(labels)]
    pieces = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
    parts = [{"labels": labels[piece], "features.last": features[piece]} for piece in pieces]
    parts[1]["weights.last"] = weights
    generator.shuffle(parts)
    split = measure(*parts, spectra=["features"])
    assert split.class_counts == whole.class_counts
    assert_same_metrics(split.layers[0], whole.layers[0], rel=1e-10)
    assert split.layers[0].spectra.features == pytest.approx(whole.layers[0].spectra.features, rel=1e-9)


def test_same_command_gives_the_same_report(data, measure):
    tensors = {"labels": data.labels, "features.last": data.features, "weights.last": data.weights}
    first, second = (measure(tensors).model_dump(exclude={"created_at", "timings"}) for _ in range(2))
    assert first == second
