"""Moments in place of samples: the same report, but for what is counted sample by sample."""

import itertools

import numpy as np
import pytest
import torch
from metrics_of_layers import assert_same_metrics

from analysis.commands import MeasureCollapse
from analysis.metrics import REGISTRY
from collapse_client.format import write_moments
from collapse_client.format.moments import Moments, ProjectedScatter

SIZES = [60, 25, 9, 4, 2]
SAMPLES = {name for name, metric in REGISTRY.items() if metric.entry.needs == "samples"}
AVAILABLE = {
    "matrix": {"means", "scatter", "projected_scatter", "scatter_matrix"},
    "projection": {"means", "scatter", "projected_scatter"},
    "trace": {"means", "scatter"},
}


@pytest.fixture
def tensors(clusters):
    """Two layers, with everything that may be sent besides."""
    features, labels, weights = clusters(sizes=SIZES, dim=7, noise=0.5)
    generator = np.random.default_rng(1)
    return {
        "labels": labels + 3,
        "features.a": features @ generator.normal(size=(7, 9)) + 100,
        "weights.a": generator.normal(size=(7, 9)),
        "biases.a": generator.normal(size=7),
        "ood.a": generator.normal(size=(8, 9)),
        "features.b": features.astype(np.float32),
        "weights.b": weights,
    }


def write(path, tensors, kind):
    """What a training process would send of these samples."""
    labels = torch.as_tensor(tensors["labels"])
    classes, class_indices = torch.unique(labels, return_inverse=True)
    moments, projected = {}, {}
    for layer in ("a", "b"):
        features = torch.as_tensor(tensors[f"features.{layer}"])
        kept = Moments(
            num_classes=len(classes),
            dim=features.shape[1],
            second_moments="matrix" if kind == "matrix" else "trace",
        )
        for rows in torch.arange(len(labels)).split(13):
            kept.update(features[rows], class_indices[rows])
        moments[layer] = kept
        if kind == "projection":
            projection = ProjectedScatter(kept)
            for rows in torch.arange(len(labels)).split(17):
                projection.update(features[rows], class_indices[rows])
            projected[layer] = projection.matrix()
    others = {
        what: {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{what}.")}
        for what in ("weights", "biases", "ood")
    }
    write_moments(path, classes=classes, moments=moments, projected_scatter=projected, **others)
    return path


@pytest.fixture
def measure_files(surroundings, tmp_path):
    """A factory: moments of these samples, of a kind, in any number of parts → the report."""

    def make(parts, kinds, **parameters):
        here = surroundings(*parts)
        for index, (part, kind) in enumerate(zip(parts, kinds, strict=True)):
            if kind != "samples":
                here._paths[index] = write(tmp_path / f"moments{index}.safetensors", part, kind)
        return MeasureCollapse(kind="measure_collapse", features="f", **parameters).run(here)

    return make


def assert_same_but(report, whole, *, nulls, rel=1e-10):
    for layer, expected in zip(report.layers, whole.layers, strict=True):
        assert_same_metrics(layer, expected, rel=rel, names=set(REGISTRY) - nulls)
        for name in nulls & set(layer.metrics):
            assert layer.metrics[name] is None, name
            assert any(name in warning.metrics for warning in layer.warnings), name
        assert layer.spectra.class_means == pytest.approx(expected.spectra.class_means, rel=rel)
        assert layer.structure.kind == expected.structure.kind
        assert layer.structure.distance == pytest.approx(expected.structure.distance, rel=rel)


@pytest.mark.parametrize("kind", AVAILABLE)
@pytest.mark.parametrize("weighting", ["balanced", "sample"])
def test_report_is_that_of_the_samples(kind, weighting, tensors, measure_files):
    whole = measure_files([tensors], ["samples"], class_weighting=weighting)
    report = measure_files([tensors], [kind], class_weighting=weighting)
    missing = {name for name, metric in REGISTRY.items() if metric.entry.needs not in AVAILABLE[kind]}
    assert missing >= SAMPLES
    assert_same_but(report, whole, nulls=missing)
    assert (report.num_samples, report.class_counts) == (whole.num_samples, whole.class_counts)
    for layer, expected in zip(report.layers, whole.layers, strict=True):
        for found, row in zip(layer.per_class, expected.per_class, strict=True):
            assert found.nearest_center_accuracy is None
            assert found.model_dump(exclude={"nearest_center_accuracy"}) == pytest.approx(
                row.model_dump(exclude={"nearest_center_accuracy"}), rel=1e-10
            )


@pytest.mark.parametrize("kinds", list(itertools.product(["samples", "matrix"], repeat=3))[1:])
def test_parts_of_both_kinds(kinds, tensors, measure_files):
    """Also where a part has not every class."""
    rows = np.split(np.argsort(tensors["labels"], kind="stable"), [30, 90])
    parts = [
        {name: values[own] if name.startswith(("labels", "features")) else values for name, values in tensors.items()}
        for own in rows
    ]
    for part in parts[1:]:
        for name in [name for name in part if name.startswith(("weights", "biases", "ood"))]:
            del part[name]
    whole = measure_files([tensors], ["samples"])
    report = measure_files(parts, kinds)
    assert_same_but(report, whole, nulls=SAMPLES)
    # Parts whose moments are traces give no second moments for the whole.
    mixed = measure_files(parts, [kind.replace("matrix", "trace") for kind in kinds])
    needed = {name for name, metric in REGISTRY.items() if metric.entry.needs not in ("means", "scatter")}
    assert_same_but(mixed, whole, nulls=needed)


def test_projections_of_several_parts_do_not_add_up(tensors, measure_files):
    halves = [
        {name: values[own] for name, values in tensors.items() if name.startswith(("labels", "features"))}
        for own in (slice(0, None, 2), slice(1, None, 2))
    ]
    report = measure_files(halves, ["projection", "projection"])
    for layer in report.layers:
        assert layer.metrics["within_class_variability"] is None
        assert any(
            warning.code == "needs_projected_scatter" and "within_class_variability" in warning.metrics
            for warning in layer.warnings
        )


@pytest.mark.parametrize("kind", AVAILABLE)
@pytest.mark.parametrize("weighting", ["balanced", "sample"])
def test_more_classes_than_dimensions(kind, weighting, clusters, measure_files):
    """Where samples are measured by the d × d matrix, and a projection brings the K × K one."""
    features, labels, weights = clusters(sizes=[9, 30, 5, 12, 40, 7, 22, 8], dim=3, noise=0.5)
    tensors = {"labels": labels, "features.a": features, "features.b": features, "weights.b": weights}
    whole = measure_files([tensors], ["samples"], class_weighting=weighting)
    missing = {name for name, metric in REGISTRY.items() if metric.entry.needs not in AVAILABLE[kind]}
    report = measure_files([tensors], [kind], class_weighting=weighting)
    assert_same_but(report, whole, nulls=missing)
    assert kind == "trace" or report.layers[0].ranks_used == whole.layers[0].ranks_used


def test_offset_costs_moments_no_digits(clusters, measure_files):
    features, labels, weights = clusters(sizes=SIZES, dim=6, noise=1e-3)
    features = np.round(features * 2**30) / 2**30 + 1e5
    tensors = {"labels": labels, "features.a": features, "features.b": features, "weights.b": weights}
    assert_same_but(
        measure_files([tensors], ["matrix"]), measure_files([tensors], ["samples"]), nulls=SAMPLES, rel=1e-8
    )


@pytest.mark.parametrize("order", [("samples", "trace"), ("trace", "samples")])
def test_offset_costs_no_digits_beside_single_samples(order, clusters, measure_files):
    """Samples that show no scatter by themselves must not decide how moments of the same classes are merged."""
    features, labels, weights = clusters(sizes=SIZES, dim=12, noise=1e-3)
    features = np.round(features * 2**30) / 2**30 + 1e5
    tensors = {"labels": labels, "features.a": features, "features.b": features}
    first = np.unique(labels, return_index=True)[1]
    single, rest = (
        {name: values[rows] for name, values in tensors.items()} for rows in (first, np.delete(np.arange(100), first))
    )
    parts = [single if kind == "samples" else rest for kind in order]
    parts[0]["weights.b"] = weights
    names = [name for name, metric in REGISTRY.items() if metric.entry.needs in ("means", "scatter")]
    whole = measure_files([tensors | {"weights.b": weights}], ["samples"], metrics=names)
    assert_same_but(measure_files(parts, order, metrics=names), whole, nulls=set(REGISTRY) - set(names), rel=1e-8)
