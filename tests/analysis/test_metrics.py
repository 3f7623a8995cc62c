"""Every metric against its naive reference, and against what it must be on exact structures."""

import numpy as np
import pytest
import torch

from analysis.metrics import REGISTRY, catalogue

GEOMETRIC = [int(size) for size in np.geomspace(1000, 10, 6)]
CASES = {
    "balanced": {"sizes": [40] * 6, "dim": 12},
    "unbalanced": {"sizes": GEOMETRIC, "dim": 12},
    "a thousand to one": {"sizes": [2000, 2, 30], "dim": 5},
    "two classes": {"sizes": [20, 30], "dim": 4},
    "fewer samples than dimensions": {"sizes": [3, 4, 5], "dim": 40},
    "as many dimensions as a simplex needs": {"sizes": [30] * 5, "dim": 4},
    "nearly collapsed": {"sizes": [30] * 5, "dim": 8, "noise": 1e-6},
}
SIMPLEX_METRICS = {"simplex_etf_distance", "self_duality_structure"}


def reference(references, name, features, labels, weights):
    return pytest.approx(float(references[name](features, labels, weights, 1e-3)), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("case", CASES)
def test_metric_is_its_reference(name, case, references, clusters, measure_layer):
    assert name in references, f"write a naive {name}(H, y, W, tolerance) in tests/analysis/reference.py"
    features, labels, means = clusters(**CASES[case])
    weights = means + 0.1
    layer = measure_layer(features, labels, weights, metrics=[name])
    assert layer.metrics[name] == reference(references, name, features, labels, weights)


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - SIMPLEX_METRICS))
def test_metric_is_its_reference_in_too_few_dimensions(name, references, clusters, measure_layer):
    features, labels, means = clusters(sizes=[30] * 7, dim=3)
    layer = measure_layer(features, labels, means, metrics=[name])
    assert layer.metrics[name] == reference(references, name, features, labels, means)


def test_labels_need_not_count_from_zero(references, clusters, measure):
    features, labels, means = clusters(sizes=[10, 20, 30], dim=6)
    labels = np.array([7, 3, 10**15])[labels]
    report = measure({"labels": labels, "features.last": features, "weights.last": means})
    assert report.class_counts == {"3": 20, "7": 10, str(10**15): 30}
    for name, value in report.layers[0].metrics.items():
        assert value == reference(references, name, features, labels, means)


def test_catalogue_says_what_is_needed_to_compute_a_metric_again():
    for name, entry in catalogue().items():
        assert entry.name == name
        assert entry.title
        assert entry.formula
        assert entry.reference
        assert entry.conventions.weighting


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_exact_simplex_has_collapsed(num_classes, simplex, measure_layer):
    means = 3 * simplex(num_classes)
    labels = np.repeat(np.arange(num_classes), 4)
    metrics = measure_layer(means[labels], labels, 0.5 * means).metrics
    assert metrics["variability_trace_ratio"] == 0
    assert metrics["within_class_variability"] == 0
    assert metrics["class_distance_normalized_variance"] == 0
    assert metrics["nearest_center_accuracy"] == 1
    assert metrics["mutual_coherence"] == pytest.approx(1 / (num_classes - 1))
    assert metrics["class_mean_rank"] == num_classes - 1
    for name in (
        "equinorm",
        "equiangularity",
        "maximal_angle",
        "simplex_etf_distance",
        "self_duality_distance",
        "self_duality_structure",
    ):
        assert metrics[name] == pytest.approx(0, abs=1e-12)


def test_exact_orthogonal_frame(measure_layer):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0][:5]
    metrics = measure_layer(np.repeat(turn, 2, axis=0), np.repeat(np.arange(5), 2)).metrics
    assert metrics["orthogonal_frame_distance"] == pytest.approx(0, abs=1e-12)
    assert metrics["simplex_etf_distance"] == pytest.approx(0, abs=1e-12)
    for rank in ("rank", "stable_rank", "effective_rank", "participation_ratio"):
        assert metrics[f"class_mean_{rank}"] == pytest.approx(5)


def test_ranks_of_a_nearly_singular_diagonal(measure_layer):
    layer = measure_layer(np.diag([100.0, 100, 1e-6]), np.arange(3))
    assert layer.spectra.class_means == pytest.approx([100, 100, 1e-6])
    assert layer.metrics["class_mean_effective_rank"] == pytest.approx(2, rel=1e-6)
    assert layer.metrics["class_mean_participation_ratio"] == pytest.approx(2)
    assert layer.metrics["class_mean_rank"] == 2
    assert layer.details["class_mean_rank"] == {"tolerance": 1e-3}
    assert measure_layer(np.diag([100.0, 100, 1e-6]), np.arange(3), rank_tolerance=1e-9).metrics["class_mean_rank"] == 3


def test_participation_ratio_of_equal_eigenvalues(measure_layer):
    assert measure_layer(np.eye(3), np.arange(3)).metrics["class_mean_participation_ratio"] == pytest.approx(3)


def test_gram_matrix_of_the_class_means_is_reported(references, clusters, measure_layer):
    features, labels, _ = clusters(sizes=[5, 6, 7], dim=4)
    means = references["means"](features, labels)
    np.testing.assert_allclose(measure_layer(features, labels).class_mean_gram, means @ means.T, rtol=1e-12)


@pytest.mark.parametrize(("sizes", "dim"), [([9, 20], 6), ([3, 4], 30), ([40] * 8, 5)])
def test_feature_and_weight_spectra(sizes, dim, clusters, measure_layer):
    features, labels, means = clusters(sizes=sizes, dim=dim)
    spectra = measure_layer(features, labels, means, spectra=["features", "weights"]).spectra
    assert spectra.features == pytest.approx(np.linalg.svd(features, compute_uv=False))
    assert spectra.weights == pytest.approx(np.linalg.svd(means, compute_uv=False))


def test_distances_of_close_class_means_do_not_cancel(statistics):
    step, far = 1e-7, 1e3
    means = torch.tensor([[0.0, 0.0], [step, 0.0], [far, far]], dtype=torch.float64)
    assert float(statistics(means, [0, 1, 2]).squared_distances[0, 1]) == pytest.approx(step**2, rel=1e-6)
