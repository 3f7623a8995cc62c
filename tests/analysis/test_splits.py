"""A second split: every metric on each of the two, as if they had been sent alone."""

import numpy as np
import pytest
from metrics_of_layers import assert_same_metrics

from analysis.metrics import REGISTRY


@pytest.fixture
def tensors(clusters):
    features, labels, weights = clusters(sizes=[40, 50, 60], dim=6)
    noisy, own, _ = clusters(sizes=[20, 10, 12], dim=6, noise=1.5, seed=2)
    order = np.random.default_rng(0).permutation(len(labels) + len(own))
    return {
        "labels": np.concatenate([labels, own])[order],
        "split": np.concatenate([np.zeros_like(labels), np.full_like(own, 5)])[order],
        "features.a": np.concatenate([features, noisy])[order],
        "weights.a": weights,
    }


def alone(tensors, split):
    chosen = tensors["split"] == split
    return {
        name: values[chosen] if name in ("labels", "features.a") else values
        for name, values in tensors.items()
        if name != "split"
    }


def test_splits_are_measured_as_if_alone(tensors, measure):
    report = measure(tensors, spectra=["features"])
    [layer] = report.layers
    assert list(layer.splits) == ["5"]
    first, second = measure(alone(tensors, 0), spectra=["features"]), measure(alone(tensors, 5), spectra=["features"])
    assert (report.num_samples, report.class_counts) == (150, first.class_counts)
    assert (layer.splits["5"].num_samples, layer.splits["5"].class_counts) == (42, second.class_counts)
    for found, expected in ((layer, first.layers[0]), (layer.splits["5"], second.layers[0])):
        assert_same_metrics(found, expected, rel=1e-10, names=REGISTRY)
        assert found.spectra.features == pytest.approx(expected.spectra.features)
        assert found.structure.kind == expected.structure.kind
        assert [row.count for row in found.per_class] == [row.count for row in expected.per_class]


def test_parts_may_have_one_split_each(tensors, measure):
    parts = []
    for split in (0, 5):
        part = alone(tensors, split)
        parts.append(part | {"split": np.full_like(part["labels"], split)})
    del parts[1]["weights.a"]
    whole, report = measure(tensors).layers[0], measure(*parts).layers[0]
    assert_same_metrics(report, whole, rel=1e-10, names=REGISTRY)
    assert_same_metrics(report.splits["5"], whole.splits["5"], rel=1e-10, names=REGISTRY)


def test_a_class_that_a_split_does_not_have(tensors, measure):
    tensors["labels"] = np.where((tensors["split"] == 5) & (tensors["labels"] == 2), 1, tensors["labels"])
    report = measure(tensors)
    [layer] = report.layers
    assert set(layer.splits["5"].class_counts) == {"0", "1"}
    assert layer.splits["5"].metrics["self_duality_distance"] is None
    assert any(warning.code == "weights_do_not_fit" for warning in layer.splits["5"].warnings)
    assert layer.metrics["self_duality_distance"] is not None


def test_without_splits_there_are_none(tensors, measure):
    assert measure(alone(tensors, 0)).layers[0].splits == {}
