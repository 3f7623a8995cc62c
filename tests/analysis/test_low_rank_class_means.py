"""NC1 where the class means are of low rank: the trap of the field."""

import numpy as np
import pytest
import torch

from analysis.between_class import noise_floors
from analysis.errors import UndefinedMetric
from analysis.metrics import REGISTRY

NOISES = [10.0**exponent for exponent in np.arange(-9, 0.5, 0.5)]
SIZES = {
    "balanced": [5000] * 10,
    "unbalanced": [int(size) for size in np.geomspace(1000, 100, 10)],
    "very unbalanced": [int(size) for size in np.geomspace(1000, 10, 10)],
}


@pytest.mark.parametrize(("case", "largest_noise"), [("balanced", 1.0), ("unbalanced", 1.0), ("very unbalanced", 0.3)])
@pytest.mark.parametrize("dim", [8, 20, 64])
def test_value_falls_with_the_noise_at_constant_rank(case, largest_noise, dim, clusters, statistics):
    values = []
    clean, labels, _ = clusters(sizes=SIZES[case], dim=dim, rank=5, noise=0.0)
    noise = np.random.default_rng(5).normal(size=clean.shape)
    for scale in [scale for scale in NOISES if scale <= largest_noise * 1.01]:
        measured = REGISTRY["within_class_variability"](statistics(clean + scale * noise, labels))
        assert measured.details["rank_used"] == 5
        assert [warning.code for warning in measured.warnings] == ["low_rank_class_means"]
        values.append(measured.value)
    assert np.all(np.diff(values) > 0)
    assert np.diff(np.log10(values)) == pytest.approx(1, abs=0.1)  # as the square of the noise


def test_value_is_that_of_the_true_directions(clusters, statistics):
    features, labels, means = clusters(sizes=[5000] * 10, dim=20, rank=5, noise=0.01)
    eigenvalues = np.linalg.svd(means, compute_uv=False)[:5] ** 2 / 10
    expected = np.sum(0.01**2 / eigenvalues) / 10
    value = REGISTRY["within_class_variability"](statistics(features, labels)).value
    assert value == pytest.approx(expected, rel=0.02)


def test_exact_collapse_onto_low_rank_class_means_is_zero(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[7] * 10, dim=20, rank=4, noise=0.0)
    layer = measure_layer(features, labels)
    assert layer.metrics["within_class_variability"] == 0
    assert layer.details["within_class_variability"]["rank_used"] == 4
    assert layer.details["within_class_variability"]["bound_by"] == "tolerance"


def test_every_rule_can_bind(clusters, statistics):
    def details(**options):
        features, labels, _ = clusters(sizes=[500] * 10, dim=20, **options)
        return REGISTRY["within_class_variability"](statistics(features, labels)).details

    assert details(noise=0.1)["bound_by"] == "cap"
    assert details(noise=0.1, rank=5)["bound_by"] == "noise_floor"
    assert details(noise=1e-6, rank=5)["bound_by"] == "tolerance"


def test_classes_of_pure_noise_have_no_direction(clusters, measure_layer):
    features, labels, _ = clusters(sizes=[500] * 10, dim=20, noise=1.0)
    layer = measure_layer(np.random.default_rng(0).normal(size=features.shape), labels)
    assert layer.metrics["within_class_variability"] is None
    [warning] = [warning for warning in layer.warnings if "within_class_variability" in warning.metrics]
    assert warning.code == "no_direction_above_noise"
    assert layer.metrics["variability_trace_ratio"] > 10


def test_floor_of_balanced_isotropic_noise_is_the_marchenko_pastur_edge():
    num_classes, size, dim, variance = 10, 100, 40, 0.5
    unbiased = (num_classes * size - num_classes) / (num_classes * size)
    floors = noise_floors(
        torch.linalg.qr(torch.randn(num_classes, 9, dtype=torch.float64))[0],
        noise_of_rows=torch.full((num_classes,), 1 / size, dtype=torch.float64),
        num_samples=num_classes * size,
        within_class_trace=unbiased * variance * dim,
        projected_covariance=unbiased * variance * torch.eye(9, dtype=torch.float64),
    )
    edge = variance / size * (1 + np.sqrt(dim / num_classes)) ** 2
    np.testing.assert_allclose(floors**2 / num_classes, edge)


@pytest.mark.parametrize("sizes", [[50] * 20, [int(size) for size in np.geomspace(300, 5, 20)]])
@pytest.mark.parametrize("scales", [np.ones(30), np.geomspace(1, 0.03, 30)], ids=["isotropic", "anisotropic"])
def test_floor_is_seldom_passed_by_noise(sizes, scales, statistics):
    labels = np.repeat(np.arange(20), sizes)
    passed = 0
    for seed in range(30):
        layer = statistics(np.random.default_rng(seed).normal(size=(len(labels), 30)) * scales, labels)
        try:
            passed += layer.between_class_directions.rank > 0
        except UndefinedMetric:
            continue
    assert passed <= 3
