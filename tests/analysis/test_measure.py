"""The whole analysis, from a command to a report that is valid JSON of its own schema."""

import json

import jsonschema
import numpy as np
import pytest

from analysis.commands import MeasureCollapse
from analysis.errors import UnknownLayer
from analysis.metrics import REGISTRY
from analysis.report import Report


@pytest.fixture
def tensors(clusters):
    features, labels, weights = clusters(sizes=[30, 40, 50], dim=6)
    return {
        "labels": labels,
        "features.layer2": features[:, :4].reshape(-1, 2, 2),
        "features.layer10": features,
        "weights.layer10": weights,
    }


def test_report_says_where_it_comes_from(tensors, measure):
    report = measure(tensors)
    assert (report.schema_version, report.kind, report.job_id) == ("1.0", "measure_collapse", "job_1")
    assert (report.run, report.step) == ("run", 7)
    assert report.environment.device == "cpu"
    assert report.environment.dtype == "float64"
    assert report.created_at.tzinfo is not None
    assert (report.num_samples, report.num_classes) == (120, 3)
    assert list(report.class_counts.items()) == [("0", 30), ("1", 40), ("2", 50)]
    assert list(report.catalogue) == list(REGISTRY)
    assert set(report.timings) == {"reading_seconds", "computing_seconds", "total_seconds"}


def test_report_is_json_of_its_schema(tensors, measure):
    report = measure(tensors, spectra=["features", "weights"])
    body = json.loads(report.model_dump_json(), parse_constant=pytest.fail)
    schema = Report.model_json_schema(mode="serialization")
    jsonschema.validate(body, schema, format_checker=jsonschema.FormatChecker())
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_layers_in_the_order_of_the_file(tensors, measure):
    report = measure(tensors)
    assert [(layer.name, layer.index, layer.dim) for layer in report.layers] == [("layer2", 0, 4), ("layer10", 1, 6)]


def test_layers_and_metrics_as_asked(tensors, measure):
    report = measure(tensors, layers=["layer10", "layer2"], metrics=["equinorm", "class_mean_rank"])
    assert [(layer.name, layer.index) for layer in report.layers] == [("layer10", 0), ("layer2", 1)]
    assert [list(layer.metrics) for layer in report.layers] == [["equinorm", "class_mean_rank"]] * 2
    assert list(report.catalogue) == ["equinorm", "class_mean_rank"]


def test_unknown_layer_is_named(tensors, measure):
    with pytest.raises(UnknownLayer, match=r"'layer3'.*'layer2', 'layer10'") as caught:
        measure(tensors, layers=["layer3"])
    assert caught.value.code == "invalid_request"


def test_progress_rises_to_the_end(tensors, surroundings):
    here = surroundings(tensors)
    MeasureCollapse(kind="measure_collapse", features="f").run(here)
    currents = [current for _, current, _ in here.heard]
    assert currents == sorted(currents)
    assert [phase for phase, _, _ in here.heard] == ["layer2"] * 2 + ["layer10"] * 2
    assert here.heard[-1][1:] == (2 * 120 * 10, 2 * 120 * 10)


def test_progress_can_stop_the_work(tensors, surroundings):
    class Stop(BaseException):
        pass

    def progress(**_):
        raise Stop

    here = surroundings(tensors)
    here.progress = progress
    with pytest.raises(Stop):
        MeasureCollapse(kind="measure_collapse", features="f").run(here)


def test_samples_are_read_again_only_for_metrics_that_need_them(tensors, surroundings):
    here = surroundings(tensors)
    MeasureCollapse(kind="measure_collapse", features="f", metrics=["variability_trace_ratio"]).run(here)
    assert len(here.heard) == 2


def test_labels_of_any_integer_dtype(clusters, measure):
    features, labels, _ = clusters(sizes=[5, 6], dim=3)
    for dtype in (np.uint8, np.int16, np.int32, np.uint64):
        assert measure({"labels": labels.astype(dtype), "features.a": features}).class_counts == {"0": 5, "1": 6}
