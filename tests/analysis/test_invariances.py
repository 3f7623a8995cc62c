"""What must not change the numbers: rotation, scale, offset, order, names, dtype, tiles and parts."""

import itertools

import numpy as np
import pytest
import torch

from analysis import tiles
from analysis.metrics import REGISTRY

# By definition these see where the origin is, or how the weights stand to the features.
UNCENTRED = {"orthogonal_frame_distance"} | {name for name in REGISTRY if name.startswith("class_mean_")}
SIZES = [200, 60, 20, 6, 2]


@pytest.fixture
def data(clusters):
    return clusters(sizes=SIZES, dim=8, noise=0.5)


def assert_same(left, right, *, rel, names=REGISTRY):
    """Relative difference of every metric, but for values that are themselves rounding."""
    for name in names:
        assert left.metrics[name] == pytest.approx(right.metrics[name], rel=rel, abs=1e-13), name


def turn(dim):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(dim, dim)))[0]


def test_rotation(data, measure_layer):
    features, labels, weights = data
    rotated = measure_layer(features @ turn(8), labels, weights @ turn(8))
    assert_same(rotated, measure_layer(features, labels, weights), rel=1e-10)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scale(factor, data, measure_layer):
    features, labels, weights = data
    scaled = measure_layer(factor * features, labels, weights / factor)
    assert_same(scaled, measure_layer(features, labels, weights), rel=1e-10)


@pytest.mark.parametrize(("offset", "rel"), [(1e3, 1e-6), (1e5, 1e-3)])
@pytest.mark.parametrize("noise", [0.5, 1e-3])
def test_offset(offset, rel, noise, clusters, measure_layer):
    features, labels, weights = clusters(sizes=SIZES, dim=8, noise=noise)
    # On a grid of 2⁻³⁰ the sums with the offset are exact: what differs is ours.
    features = np.round(features * 2**30) / 2**30
    moved, still = measure_layer(features + offset, labels, weights), measure_layer(features, labels, weights)
    assert_same(moved, still, rel=rel, names=set(REGISTRY) - UNCENTRED)
    assert moved.metrics["nearest_center_accuracy"] == still.metrics["nearest_center_accuracy"]


@pytest.mark.parametrize(("offset", "rel"), [(1e3, 1e-6), (1e5, 1e-3)])
def test_offset_in_float32(offset, rel, data, references, measure_layer):
    """The values that float32 holds at this offset are measured as exactly as any."""
    features, labels, weights = data
    moved = (features + offset).astype(np.float32)
    layer = measure_layer(moved, labels, weights)
    for name in set(REGISTRY) - UNCENTRED:
        reference = references[name](moved.astype(np.float64) - offset, labels, weights, 1e-3)
        assert layer.metrics[name] == pytest.approx(float(reference), rel=rel), name


def test_order_of_samples(data, measure_layer):
    features, labels, weights = data
    order = np.random.default_rng(2).permutation(len(labels))
    assert_same(
        measure_layer(features[order], labels[order], weights), measure_layer(features, labels, weights), rel=1e-10
    )


def test_names_of_classes(data, measure_layer):
    features, labels, weights = data
    names = np.array([40, 3, 22, 7, 11])
    renamed = measure_layer(features, names[labels], weights[np.argsort(names)])
    assert_same(renamed, measure_layer(features, labels, weights), rel=1e-10)


@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float16, 2e-2), (torch.bfloat16, 2e-1), (torch.float32, 1e-5), (torch.float64, 0)]
)
def test_dtype(dtype, rel, data, references, measure_layer):
    features, labels, weights = data
    stored = torch.as_tensor(features).to(dtype)
    layer = measure_layer(stored, labels, weights)
    assert_same(layer, measure_layer(stored.to(torch.float64), labels, weights), rel=1e-12)
    assert_same(layer, measure_layer(features, labels, weights), rel=rel)


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_size_of_tiles(rows, data, measure_layer, monkeypatch):
    features, labels, weights = data
    whole = measure_layer(features, labels, weights, spectra=["features"])
    monkeypatch.setitem(tiles.TILE_BYTES, "cpu", rows * 8 * features.shape[1])
    tiled = measure_layer(features, labels, weights, spectra=["features"])
    assert_same(tiled, whole, rel=1e-10)
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
    assert_same(split.layers[0], whole.layers[0], rel=1e-10)
    assert split.layers[0].spectra.features == pytest.approx(whole.layers[0].spectra.features, rel=1e-9)


def test_same_command_gives_the_same_report(data, measure):
    features, labels, weights = data
    tensors = {"labels": labels, "features.last": features, "weights.last": weights}
    first, second = (measure(tensors).model_dump(exclude={"created_at", "timings"}) for _ in range(2))
    assert first == second
