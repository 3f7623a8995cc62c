"""Undefined is null with a warning that names the metric, and nothing else is null."""

import json

import numpy as np
import pytest

from analysis.metrics import REGISTRY
from analysis.metrics.ranks import MEASURES

CLASS_MEAN_RANKS = {f"class_mean_{measure}" for measure in ("rank", *MEASURES)}
CENTERED_RANKS = {f"centered_{name}" for name in CLASS_MEAN_RANKS}
FEATURE_RANKS = {f"feature_{measure}" for measure in ("rank", *MEASURES)}
SCOPES = {
    scope: {name for name, metric in REGISTRY.items() if metric.entry.scope == scope}
    for scope in ("layer", "weights", "classifier")
}
CLASSIFIER, WEIGHTS = SCOPES["classifier"], SCOPES["weights"]
COSINES = {
    "equiangularity",
    "maximal_angle",
    "mutual_coherence",
    "hyperspherical_energy",
    "self_duality_cosine",
    "uniform_duality",
}
# What these layers, the only ones of their files, have not: a layer after it, biases, samples of no class.
NOT_SENT = {"balancedness", "bias_collapse", "out_of_distribution_orthogonality"}


def nulls(layer):
    """Names of the null metrics; every one has a warning, and all of one reason share it."""
    found = {name for name, value in layer.metrics.items() if value is None}
    named = [name for warning in layer.warnings for name in warning.metrics]
    assert found <= set(named)
    assert len({(warning.code, warning.detail) for warning in layer.warnings}) == len(layer.warnings)
    assert all(warning.detail for warning in layer.warnings)
    assert found >= NOT_SENT
    json.loads(layer.model_dump_json(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    return found - NOT_SENT


def codes(layer):
    return {name: warning.code for warning in layer.warnings for name in warning.metrics}


def test_all_is_defined_on_good_data(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[5, 6, 7], dim=4))
    assert nulls(layer) == set()
    assert {name for warning in layer.warnings for name in warning.metrics} == NOT_SENT


def test_with_everything_sent_nothing_is_undefined(clusters, measure):
    features, labels, weights = clusters(sizes=[5, 6, 7], dim=4)
    sent = {"weights.a": np.ones((4, 4)), "biases.a": np.ones(4), "ood.a": features[:3]}
    last = {"features.b": features, "weights.b": weights, "biases.b": np.ones(3), "ood.b": features[:2]}
    first, second = measure({"labels": labels, "features.a": features, **sent, **last}).layers
    assert {name for name, value in first.metrics.items() if value is None} == CLASSIFIER
    assert {name for name, value in second.metrics.items() if value is None} == {"balancedness"}


def test_one_class_has_ranks_and_spectrum(measure_layer):
    layer = measure_layer(np.random.default_rng(0).normal(size=(5, 3)), np.zeros(5, dtype=int), np.ones((1, 3)))
    of_one_class = CLASS_MEAN_RANKS | FEATURE_RANKS | WEIGHTS | {"low_rank_gap", "class_mean_condition_number"}
    assert nulls(layer) == set(REGISTRY) - of_one_class - NOT_SENT
    assert {codes(layer)[name] for name in nulls(layer)} == {"one_class"}
    assert layer.metrics["class_mean_condition_number"] == 1
    assert len(layer.spectra.class_means) == 1


def test_identical_class_means(measure_layer):
    features = np.array([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    layer = measure_layer(features, [0, 0, 1, 1], np.eye(2))
    uncentred = CLASS_MEAN_RANKS | FEATURE_RANKS | WEIGHTS | {"low_rank_gap", "orthogonal_frame_distance"}
    assert nulls(layer) == set(REGISTRY) - uncentred - NOT_SENT
    assert {codes(layer)[name] for name in nulls(layer)} == {"identical_class_means", "dependent_class_means"}


def test_dead_layer(measure_layer):
    layer = measure_layer(np.zeros((4, 3)), [0, 0, 1, 1], np.ones((2, 3)))
    defined = {"class_mean_rank", "feature_rank", "low_rank_gap"} | {name for name in WEIGHTS if "weight_" in name}
    assert nulls(layer) == set(REGISTRY) - (defined - {"weight_alignment"}) - NOT_SENT
    assert layer.metrics["class_mean_rank"] == layer.metrics["feature_rank"] == 0
    assert layer.metrics["low_rank_gap"] == 2
    assert layer.spectra.class_means == (0, 0)
    assert codes(layer)["class_mean_stable_rank"] == "zero_class_means"


def test_two_coinciding_class_means(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 5, 5], dim=4)
    twin = np.concatenate([features, features[labels == 0]])
    layer = measure_layer(twin, np.concatenate([labels, np.full(5, 9)]), np.ones((4, 4)))
    assert codes(layer)["class_distance_normalized_variance"] == "coinciding_class_means"
    assert codes(layer)["hyperspherical_energy"] == "coinciding_directions"
    assert codes(layer)["class_mean_condition_number"] == "dependent_class_means"
    assert nulls(layer) == {
        "class_distance_normalized_variance",
        "hyperspherical_energy",
        "class_mean_condition_number",
    }


def test_class_of_one_sample(clusters, measure_layer):
    features, labels, means = clusters(sizes=[5, 1, 5], dim=4)
    layer = measure_layer(features, labels, means)
    assert nulls(layer) == {"class_distance_normalized_variance"}
    assert codes(layer)["class_distance_normalized_variance"] == "single_sample_class"
    assert any("1 of 3 classes" in warning.detail for warning in layer.warnings)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_classes_of_one_sample_each_have_no_scatter(offset, measure_layer):
    features = np.random.default_rng(0).normal(size=(7, 5)) + offset
    layer = measure_layer(features, np.arange(7))
    assert layer.metrics["variability_trace_ratio"] == 0
    assert {row.variance for row in layer.per_class} == {None}


def test_class_mean_on_the_global_mean(measure_layer):
    features = np.array([[-1.0, 0], [1, 0], [0, 0]]) + 0.1
    layer = measure_layer(np.repeat(features, 2, axis=0), np.repeat([0, 1, 2], 2), np.ones((3, 2)))
    assert nulls(layer) == COSINES | {"class_mean_condition_number"}
    assert {codes(layer)[name] for name in COSINES} == {"class_mean_at_global_mean"}


def test_too_few_dimensions_for_a_simplex(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[5] * 6, dim=4))
    assert nulls(layer) == {"simplex_etf_distance", "self_duality_structure", "class_mean_condition_number"}
    assert codes(layer)["simplex_etf_distance"] == codes(layer)["self_duality_structure"] == "too_few_dimensions"
    [warning] = [warning for warning in layer.warnings if warning.code == "too_few_dimensions"]
    assert "d ≥ K − 1 = 5" in warning.detail


def test_classifier_metrics_belong_to_the_last_layer(clusters, measure):
    features, labels, weights = clusters(sizes=[5, 6, 7], dim=4)
    tensors = {"labels": labels, "features.a": features, "features.b": features, "weights.a": weights}
    first, last = measure(tensors | {"weights.b": weights}).layers
    assert nulls(first) == CLASSIFIER
    [warning] = [warning for warning in first.warnings if warning.code == "not_the_classifier"]
    assert set(warning.metrics) == CLASSIFIER
    assert codes(first)["balancedness"] == "weights_do_not_follow"
    assert codes(last)["balancedness"] == "no_following_weights"
    assert nulls(last) == set()
    [first, last] = measure(tensors).layers
    assert {codes(last)[name] for name in CLASSIFIER} == {"no_classifier_weights"}
    assert {codes(last)[name] for name in WEIGHTS - {"bias_collapse"}} == {"no_weights"}
    [alone] = measure(tensors | {"weights.b": weights}, layers=["a"]).layers
    assert {codes(alone)[name] for name in CLASSIFIER} == {"not_the_classifier"}


def test_weights_that_are_no_classifier_of_these_classes(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, np.ones((2, 4)))
    assert nulls(layer) == CLASSIFIER
    assert {codes(layer)[name] for name in CLASSIFIER} == {"weights_do_not_fit"}


def test_weights_of_zeros(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, np.zeros((3, 4)))
    assert nulls(layer) == CLASSIFIER | (WEIGHTS - NOT_SENT)
    assert {codes(layer)[name] for name in nulls(layer)} == {"zero_weights"}


def test_a_row_of_zeros_has_no_angle(clusters, measure_layer):
    features, labels, weights = clusters(sizes=[5, 6, 7], dim=4)
    weights[1] = 0
    layer = measure_layer(features, labels, weights)
    assert nulls(layer) == {"self_duality_cosine", "uniform_duality"}
    assert {codes(layer)[name] for name in nulls(layer)} == {"zero_weight_row"}


def test_weights_too_large_to_multiply(clusters, measure, monkeypatch):
    features, labels, _ = clusters(sizes=[5, 6, 7], dim=4)
    tensors = {"features.a": features, "weights.a": np.ones((9, 4)), "features.b": np.ones((18, 9))}
    tensors["weights.b"] = np.ones((3, 9))
    monkeypatch.setattr("analysis.applied_weights.LARGEST_GRAM", 8)
    first, _ = measure({"labels": labels, **tensors}).layers
    assert codes(first)["balancedness"] == "weights_too_large"
    assert first.metrics["weight_rank"] == 1
    monkeypatch.setattr("analysis.applied_weights.LARGEST_GRAM", 3)
    first, _ = measure({"labels": labels, **tensors}).layers
    ranks = {name for name in WEIGHTS if name.startswith("weight_")} - {"weight_alignment"}
    assert {codes(first)[name] for name in ranks} == {"weights_too_large"}
    assert first.metrics["weight_alignment"] is not None


def test_samples_of_no_class_whose_mean_is_zero(clusters, measure_layer):
    features, labels, weights = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, weights, ood=np.array([[1.0, 2, 3, 4], [-1, -2, -3, -4]]))
    assert layer.metrics["out_of_distribution_orthogonality"] is None
    assert codes(layer)["out_of_distribution_orthogonality"] == "zero_mean"


def test_second_moments_that_cost_much_are_for_those_who_ask(clusters, measure_layer, monkeypatch):
    monkeypatch.setattr("analysis.measurement.CHEAP_MULTIPLY_ADDS", 100.0)
    sent = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(*sent)
    expensive = FEATURE_RANKS | {"variability_collapse_index"}
    assert nulls(layer) == expensive
    assert {codes(layer)[name] for name in expensive} == {"second_moments_not_asked_for"}
    assert nulls(measure_layer(*sent, spectra=["features"])) == set()
    named = measure_layer(*sent, metrics=["feature_rank"])
    assert named.metrics == {"feature_rank": 4}


def test_second_moments_that_nothing_needs_are_not_formed(clusters, measure_layer, monkeypatch):
    monkeypatch.setattr("collapse_client.format.moments.GramSum.add", lambda *_: pytest.fail("formed"))
    layer = measure_layer(*clusters(sizes=[5, 6, 7], dim=4), metrics=["variability_trace_ratio", "equinorm"])
    assert None not in layer.metrics.values()


def test_a_tolerance_that_squares_cannot_resolve(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[5, 6, 7], dim=4), rank_tolerance=1e-9)
    assert codes(layer)["feature_rank"] == "tolerance_too_small"
    assert layer.metrics["class_mean_rank"] == 3


def test_fewer_samples_than_dimensions_warn_that_the_index_says_nothing(clusters, measure_layer):
    layer = measure_layer(*clusters(sizes=[3, 4, 5], dim=40))
    assert layer.metrics["variability_collapse_index"] == pytest.approx(0, abs=1e-9)
    assert codes(layer)["variability_collapse_index"] == "fewer_samples_than_dimensions"


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


def test_values_of_very_many_classes_are_left_out(measure_layer):
    layer = measure_layer(np.eye(1025), np.arange(1025), metrics=["class_mean_rank"])
    assert layer.per_class is None
    assert layer.structure is None
    assert "per_class_too_large" in {warning.code for warning in layer.warnings}


def test_feature_spectrum_that_is_too_large_is_left_out(clusters, measure_layer, monkeypatch):
    monkeypatch.setattr("analysis.second_moments.LARGEST_GRAM", 3)
    features, labels, means = clusters(sizes=[5, 6, 7], dim=4)
    layer = measure_layer(features, labels, means, spectra=["features"], metrics=["feature_rank"])
    assert layer.spectra.features is None
    assert layer.metrics["feature_rank"] is None
    assert [warning.code for warning in layer.warnings] == ["second_moments_too_large"]
