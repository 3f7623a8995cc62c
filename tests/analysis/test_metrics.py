"""Every metric against its naive reference, and against what it must be on exact structures."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from analysis.metrics import REGISTRY, catalogue
from analysis.metrics.ranks import MEASURES

GEOMETRIC = [int(size) for size in np.geomspace(1000, 10, 6)]
CASES = {
    "balanced": {"sizes": [40] * 6, "dim": 12},
    "unbalanced": {"sizes": GEOMETRIC, "dim": 12},
    "a thousand to one": {"sizes": [2000, 2, 30], "dim": 5},
    "two classes": {"sizes": [20, 30], "dim": 4},
    "fewer samples than dimensions": {"sizes": [3, 4, 5], "dim": 40},
    "as many dimensions as a simplex needs": {"sizes": [30] * 5, "dim": 4},
    "many classes, by eigenvalues": {"sizes": [6] * 80, "dim": 160},
    "nearly collapsed": {"sizes": [30] * 5, "dim": 8, "noise": 1e-6},
}
FEW_DIMENSIONS = {
    "few classes": {"sizes": [30] * 7, "dim": 3},
    "many classes, by eigenvalues": {"sizes": [5] * 90, "dim": 70, "noise": 0.02},
}
UNDEFINED_IN_FEW_DIMENSIONS = {"simplex_etf_distance", "self_duality_structure", "class_mean_condition_number"}


@dataclass
class Layers:
    """Two layers with all that may be sent: the tensors, and each layer as its reference sees it."""

    tensors: dict
    inner: object
    last: object

    def of(self, metric):
        """Where this metric is defined."""
        return {"last": self.last} if REGISTRY[metric].entry.scope == "classifier" else {"inner": self.inner}


@pytest.fixture(scope="module")
def layers(references, clusters):
    def make(**options):
        features, labels, means = clusters(**options)
        generator = np.random.default_rng(11)
        num_classes, dim = means.shape
        widths = {"inner": dim, "last": num_classes + 2}
        inner_weights = generator.normal(size=(widths["last"], dim))
        classifier = generator.normal(size=(num_classes, widths["last"]))
        sent = {
            "inner": (features, inner_weights, generator.normal(size=widths["last"])),
            "last": (np.maximum(features @ inner_weights.T, 0), classifier, generator.normal(size=num_classes)),
        }
        tensors, seen = {"labels": labels}, {}
        for name, (H, W, b) in sent.items():
            ood = generator.normal(size=(9, H.shape[1])) + 0.5
            tensors |= {f"features.{name}": H, f"weights.{name}": W, f"biases.{name}": b, f"ood.{name}": ood}
            following = classifier if name == "inner" else None
            seen[name] = references["Data"](H, labels, W, b, following, ood, last=name == "last")
        return Layers(tensors, **seen)

    return make


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("weighting", ["balanced", "sample"])
@pytest.mark.parametrize("case", CASES)
def test_metric_is_its_reference(name, case, weighting, references, layers, measure):
    assert name in references["METRICS"], f"write a naive {name}(data) in tests/analysis/reference.py"
    made = layers(**CASES[case])
    report = measure(made.tensors, metrics=[name], class_weighting=weighting)
    for layer, data in made.of(name).items():
        [found] = [found for found in report.layers if found.name == layer]
        expected = references[name](replace(data, weighting=weighting))
        assert found.metrics[name] == (close_to(expected) if np.isfinite(expected) else None)


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - UNDEFINED_IN_FEW_DIMENSIONS))
@pytest.mark.parametrize("case", FEW_DIMENSIONS)
def test_metric_is_its_reference_in_too_few_dimensions(name, case, references, layers, measure):
    made = layers(**FEW_DIMENSIONS[case])
    report = measure(made.tensors, metrics=[name])
    for layer, data in made.of(name).items():
        [found] = [found for found in report.layers if found.name == layer]
        assert found.metrics[name] == close_to(references[name](data))


@pytest.mark.parametrize("sizes", [[3, 4, 5, 6], [30, 40, 50, 60]])
@pytest.mark.parametrize("weighting", ["balanced", "sample"])
def test_second_moments_of_features_in_a_subspace(sizes, weighting, references, clusters, measure_layer):
    """By the N × N matrix and by the d × d one: both have directions that are zero but for rounding."""
    features, labels, _ = clusters(sizes=sizes, dim=5, noise=0.5)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(40, 40)))[0][:5]
    layer = measure_layer(features @ turn + 1e3 * np.ones(40), labels, class_weighting=weighting)
    data = references["Data"](features, labels, weighting=weighting)
    index = layer.metrics["variability_collapse_index"]
    # Of the references d is 5: the index is divided by min(d, K − 1) = 3 in both.
    assert index == pytest.approx(float(references["variability_collapse_index"](data)), rel=1e-7)
    assert 0.01 < index < 0.99
    still = measure_layer(features @ turn, labels, class_weighting=weighting)
    for measure in MEASURES:
        expected = references[f"feature_{measure}"](data)
        # Singular values that are 0 count with 1e-7 each in RankMe.
        rel = 1e-3 if measure == "rankme" else 1e-9
        assert still.metrics[f"feature_{measure}"] == pytest.approx(float(expected), rel=rel)
    assert still.metrics["feature_rank"] == 5


def test_references_are_of_metrics_that_there_are(references):
    assert sorted(references["METRICS"]) == sorted(REGISTRY)


@pytest.mark.parametrize("weighting", ["balanced", "sample"])
@pytest.mark.parametrize("case", CASES)
def test_values_of_single_classes_are_their_reference(case, weighting, references, layers, measure):
    made = layers(**CASES[case])
    report = measure(made.tensors, class_weighting=weighting)
    for layer, data in zip(report.layers, (made.inner, made.last), strict=True):
        expected = references["per_class"](replace(data, weighting=weighting))
        for found, row in zip(layer.per_class, expected, strict=True):
            assert found.model_dump() == pytest.approx(row, rel=1e-9, abs=1e-11)


def close_to(value):
    return pytest.approx(float(value), rel=1e-9, abs=1e-11)


def test_labels_need_not_count_from_zero(references, clusters, measure):
    features, labels, means = clusters(sizes=[10, 20, 30], dim=6)
    labels = np.array([7, 3, 10**15])[labels]
    report = measure({"labels": labels, "features.last": features, "weights.last": means})
    assert report.class_counts == {"3": 20, "7": 10, str(10**15): 30}
    for name, value in report.layers[0].metrics.items():
        if value is not None:
            assert value == close_to(references[name](references["Data"](features, labels, means)))


def test_catalogue_says_what_is_needed_to_compute_a_metric_again():
    for name, entry in catalogue().items():
        assert entry.name == name
        assert entry.title
        assert entry.formula
        assert entry.reference
        assert entry.conventions.weighting or entry.scope == "weights"


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
    means = references["means"](references["Data"](features, labels))
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
