"""A measurement that is spread over jobs: the report is that of one job, to ten digits, whatever the parts hold."""

import json
from itertools import pairwise

import numpy as np
import pytest
from spread_jobs import Spread

from analysis import spread
from analysis.commands import MeasureCollapse
from analysis.errors import ChildFailed
from analysis.metrics import REGISTRY

NOT_COMPARED = {"job_id", "created_at", "timings"}


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    """Every part is worth a job."""
    monkeypatch.setattr(spread, "GROUP_BYTES", 1)
    monkeypatch.setattr(spread, "LARGEST_SHARE", 1e9)


def parts_of(tensors, number, seed=0):
    """The samples dealt out in order, with weights, biases and samples of no class in one part each."""
    generator = np.random.default_rng(seed)
    per_sample = {name for name in tensors if name in ("labels", "split") or name.startswith("features.")}
    rows = np.array_split(np.arange(len(tensors["labels"])), number)
    parts = [{name: tensors[name][chosen] for name in per_sample} for chosen in rows]
    place = {}  # biases come with their weights
    for name in sorted(set(tensors) - per_sample):
        kind, _, layer = name.partition(".")
        chosen = place.setdefault((kind == "ood", layer), generator.integers(number))
        parts[chosen][name] = tensors[name]
    return parts


def network(*, sizes=(31, 40, 22, 17), dims=(12, 7), seed=0, offset=0.0, noise=0.3, dtype=np.float32, splits=False):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)) * 3 + 1, sizes)
    order = generator.permutation(len(labels))
    tensors = {"labels": labels[order]}
    for index, dim in enumerate(dims):
        means = generator.normal(size=(len(sizes), dim))
        features = means[labels // 3] + noise * generator.normal(size=(len(labels), dim)) + offset
        tensors[f"features.layer{index}"] = features[order].astype(dtype)
        outputs = dims[index + 1] if index + 1 < len(dims) else len(sizes)
        tensors[f"weights.layer{index}"] = generator.normal(size=(outputs, dim)).astype(dtype)
        tensors[f"biases.layer{index}"] = generator.normal(size=outputs).astype(dtype)
        tensors[f"ood.layer{index}"] = generator.normal(size=(9, dim)).astype(dtype)
    if splits:
        tensors["split"] = generator.integers(0, 2, size=len(labels))
    return tensors


def body(report):
    return {key: value for key, value in json.loads(report.model_dump_json()).items() if key not in NOT_COMPARED}


def assert_same(ours, theirs, where="report"):
    """To ten digits; of what is zero but for rounding, to ten digits of one."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-10), where
    else:
        assert ours == theirs, where


def both(tmp_path, parts, **parameters):
    command = MeasureCollapse(kind="measure_collapse", features="features_1", **parameters)
    one, many = Spread(tmp_path / "one", parts, spread_bytes=None), Spread(tmp_path / "many", parts, spread_bytes=1)
    return one.report_of(command), many.report_of(command), many


@pytest.mark.parametrize("number", [2, 5, 16])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_report_is_that_of_one_job(tmp_path, number, offset):
    one, many, ran = both(tmp_path, parts_of(network(offset=offset, dtype=np.float64), number))
    assert_same(body(many), body(one))
    assert [job.kind for job in ran.jobs] == ["accumulate_moments"] * number + ["find_residuals"] * number
    assert many.timings["children_seconds"] > 0


def test_splits_are_kept_apart(tmp_path):
    one, many, _ = both(tmp_path, parts_of(network(splits=True), 4))
    assert len(one.layers[0].splits) == 1
    assert_same(body(many), body(one))


@pytest.mark.parametrize("spectra", [[], ["class_means", "features", "weights"]])
@pytest.mark.parametrize("dims", [(12, 7), (3, 2)])  # the second are fewer than the classes
def test_with_and_without_all_second_moments(tmp_path, monkeypatch, spectra, dims):
    monkeypatch.setattr("analysis.measurement.CHEAP_MULTIPLY_ADDS", 0.0)
    one, many, _ = both(tmp_path, parts_of(network(dims=dims), 3), spectra=spectra)
    assert_same(body(many), body(one))


@pytest.mark.parametrize("metric", REGISTRY)
def test_each_metric_alone(tmp_path, metric):
    one, many, _ = both(tmp_path, parts_of(network(), 3), metrics=[metric])
    assert_same(body(many), body(one))


def test_classes_that_are_in_some_parts_alone(tmp_path):
    tensors = network()
    order = np.argsort(tensors["labels"], kind="stable")
    tensors = {name: value[order] if len(value) == len(order) else value for name, value in tensors.items()}
    one, many, _ = both(tmp_path, parts_of(tensors, 6))
    assert_same(body(many), body(one))


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_features_that_have_collapsed(tmp_path, noise):
    one, many, _ = both(tmp_path, parts_of(network(noise=noise, dtype=np.float64), 4))
    assert_same(body(many), body(one))


def test_class_means_that_coincide(tmp_path):
    tensors = network()
    tensors["features.layer0"] = np.ones_like(tensors["features.layer0"])
    one, many, _ = both(tmp_path, parts_of(tensors, 3))
    assert any(warning.code == "identical_class_means" for warning in one.layers[0].warnings)
    assert_same(body(many), body(one))


def test_some_layers_in_another_order(tmp_path):
    tensors = network(dims=(12, 7, 5))
    one, many, _ = both(tmp_path, parts_of(tensors, 3), layers=["layer2", "layer0"], class_weighting="sample")
    assert_same(body(many), body(one))


def test_no_second_round_where_nothing_needs_it(tmp_path):
    _, _, ran = both(tmp_path, parts_of(network(), 3), metrics=["class_mean_rank"])
    assert {job.kind for job in ran.jobs} == {"accumulate_moments"}


def test_the_moments_of_the_whole_can_be_sent_again(tmp_path):
    parts = parts_of(network(), 3)
    _, many, ran = both(tmp_path, parts)
    path = ran.artifact(ran.job_id, "moments.safetensors")
    again = Spread(tmp_path / "again", [path], spread_bytes=None)
    found = again.report_of(
        MeasureCollapse(kind="measure_collapse", features="features_1", metrics=["class_mean_rank"])
    )
    for ours, theirs in zip(found.layers, many.layers, strict=True):
        assert ours.metrics["class_mean_rank"] == theirs.metrics["class_mean_rank"]


@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_not_worth_it_is_measured_here(tmp_path, parts):
    """One part; or fewer samples than dimensions, whose second moments are N × N."""
    tensors = network() if parts == 1 else network(sizes=(3, 3), dims=(40, 30))
    one, many, ran = both(tmp_path, parts_of(tensors, parts), spectra=["features"])
    assert ran.jobs == []
    assert_same(body(many), body(one))


def test_a_part_that_fails_fails_the_whole_in_its_own_words(tmp_path):
    many = Spread(tmp_path, parts_of(network(), 3), spread_bytes=1, fails=1)
    with pytest.raises(ChildFailed, match="broken part") as caught:
        many.report_of(MeasureCollapse(kind="measure_collapse", features="features_1"))
    assert caught.value.code == "unsafe_file"


def test_parts_make_groups_of_about_a_size(monkeypatch):
    groups = spread._evenly([5, 1, 1, 1, 10, 2], groups=3)
    assert groups[0][0] == 0
    assert groups[-1][1] == 6
    assert all(before[1] == after[0] for before, after in pairwise(groups))
    assert len(groups) <= 3
