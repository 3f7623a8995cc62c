"""Undefined is null with a warning that names the metric, and nothing else is null."""

import json

import numpy as np
import pytest

from analysis.metrics import REGISTRY

RANKS = {name for name in REGISTRY if name.startswith("class_mean_")}
CLASSIFIER = {name for name, metric in REGISTRY.items() if metric.entry.scope == "classifier"}
COSINES = {"equiangularity", "maximal_angle", "mutual_coherence"}


def nulls(layer):
    """Names of the null metrics; every one has a warning, and all of one reason share it."""
    found = {name for name, value in layer.metrics.items() if value is None}
    named = [name for warning in layer.warnings for name in warning.metrics]
    assert found <= set(named)
    assert len({(warning.code, warning.detail) for warning in layer.warnings}) == len(layer.warnings)
    assert all(warning.detail for warning in layer.warnings)
    json.loads(layer.model_dump_json(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    return found


def codes(layer):
    return {name: warning.code for warning in layer.warnings for name in warning.metrics}


def test_all_is_defined_on_good_data(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[5, 6, 7], dim=4))
    assert nulls(layer) == set()
    assert layer.warnings == ()


def test_one_class_has_ranks_and_spectrum(measure_layer):
    layer = measure_layer(np.random.default_rng(0).normal(size=(5, 3)), np.zeros(5, dtype=int), np.ones((1, 3)))
    assert nulls(layer) == set(REGISTRY) - RANKS
    assert {codes(layer)[name] for name in nulls(layer)} == {"one_class"}
    assert len(layer.spectra.class_means) == 1


def test_identical_class_means(measure_layer):
    features = np.array([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    layer = measure_layer(features, [0, 0, 1, 1], np.eye(2))
    assert nulls(layer) == set(REGISTRY) - RANKS - {"orthogonal_frame_distance"}
    assert {codes(layer)[name] for name in nulls(layer)} == {"identical_class_means"}


def test_dead_layer(measure_layer):
    layer = measure_layer(np.zeros((4, 3)), [0, 0, 1, 1], np.ones((2, 3)))
    assert nulls(layer) == set(REGISTRY) - {"class_mean_rank"}
    assert layer.metrics["class_mean_rank"] == 0
    assert layer.spectra.class_means == (0, 0)
    assert codes(layer)["class_mean_stable_rank"] == "zero_class_means"


def test_two_coinciding_class_means(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 5, 5], dim=4)
    twin = np.concatenate([features, features[labels == 0]])
    layer = measure_layer(twin, np.concatenate([labels, np.full(5, 9)]), np.ones((4, 4)))
    assert nulls(layer) == {"class_distance_normalized_variance"}
    assert codes(layer)["class_distance_normalized_variance"] == "coinciding_class_means"


def test_class_of_one_sample(clusters, measure_layer):
    features, labels, means = clusters(sizes=[5, 1, 5], dim=4)
    layer = measure_layer(features, labels, means)
    assert nulls(layer) == {"class_distance_normalized_variance"}
    assert codes(layer)["class_distance_normalized_variance"] == "single_sample_class"
    assert any("1 of 3 classes" in warning.detail for warning in layer.warnings)


def test_class_mean_on_the_global_mean(measure_layer):
    features = np.array([[-1.0, 0], [1, 0], [0, 0]]) + 0.1
    layer = measure_layer(np.repeat(features, 2, axis=0), np.repeat([0, 1, 2], 2), np.ones((3, 2)))
    assert nulls(layer) == COSINES
    assert {codes(layer)[name] for name in COSINES} == {"class_mean_at_global_mean"}


def test_too_few_dimensions_for_a_simplex(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[5] * 6, dim=4))
    assert nulls(layer) == {"simplex_etf_distance", "self_duality_structure"}
    assert {codes(layer)[name] for name in nulls(layer)} == {"too_few_dimensions"}
    assert "d ≥ K − 1 = 5" in layer.warnings[0].detail


def test_classifier_metrics_belong_to_the_last_layer(clusters, measure):
    features, labels, weights = clusters(sizes=[5, 6, 7], dim=4)
    tensors = {"labels": labels, "features.a": features, "features.b": features, "weights.a": weights}
    first, last = measure(tensors | {"weights.b": weights}).layers
    assert nulls(first) == CLASSIFIER
    [warning] = first.warnings
    assert (warning.code, set(warning.metrics)) == ("not_the_classifier", CLASSIFIER)
    assert nulls(last) == set()
    [first, last] = measure(tensors).layers
    assert codes(last) == dict.fromkeys(CLASSIFIER, "no_classifier_weights")
    [alone] = measure(tensors | {"weights.b": weights}, layers=["a"]).layers
    assert codes(alone) == dict.fromkeys(CLASSIFIER, "not_the_classifier")


@pytest.mark.parametrize(
    ("weights", "code"), [(np.ones((2, 4)), "weights_do_not_fit"), (np.zeros((3, 4)), "zero_weights")]
)
def test_weights_that_are_no_classifier_of_these_classes(weights, code, clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, weights)
    assert nulls(layer) == CLASSIFIER
    assert codes(layer) == dict.fromkeys(CLASSIFIER, code)


@pytest.mark.parametrize("scale", [1e160, 1e307, 1e-165, 1e-300, 1e-320])
def test_what_float64_cannot_hold_is_null(scale, clusters, measure_layer):
    features, labels, means = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(scale * features, labels, means)
    assert nulls(layer)
    assert layer.metrics["nearest_center_accuracy"] in (None, 1.0)


def test_large_gram_is_left_out(measure_layer):
    layer = measure_layer(np.eye(129), np.arange(129), metrics=["class_mean_rank"])
    assert layer.class_mean_gram is None
    assert [warning.code for warning in layer.warnings] == ["class_mean_gram_too_large"]


def test_feature_spectrum_that_is_too_large_is_left_out(clusters, measure_layer, monkeypatch):
    monkeypatch.setattr("analysis.spectra.LARGEST_GRAM", 3)
    features, labels, means = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, means, spectra=["features"])
    assert layer.spectra.features is None
    assert [warning.code for warning in layer.warnings] == ["feature_spectrum_too_large"]
