"""Reports and series as data frames: the numbers of the JSON, tidy, with their types."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
from feature_files import feature_arrays

from collapse_client import Client
from collapse_client.errors import MissingLibrary
from collapse_client.reports import Report
from collapse_client.reports.frames import series_frame

pytestmark = pytest.mark.xdist_group("reports")
COLUMNS = ["run", "step", "layer", "layer_index", "metric", "value", "job_id"]


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def report(client) -> Report:
    arrays = feature_arrays(num_samples=60)
    arrays["split"] = np.repeat([0, 5], [40, 20])
    return client.report(client.wait(client.analyse(arrays))["id"])


def test_a_report_has_one_row_for_each_layer_and_metric(report):
    frame = report.to_pandas()
    assert list(frame.columns) == COLUMNS
    pairs = [(layer["name"], metric) for layer in report["layers"] for metric in layer["metrics"]]
    assert list(zip(frame.layer, frame.metric, strict=True)) == pairs
    values = [value for layer in report["layers"] for value in layer["metrics"].values()]
    assert any(value is None for value in values), "nothing undefined to look at"
    for value, cell in zip(values, frame.value, strict=True):
        assert math.isnan(cell) if value is None else cell == value
    assert frame.value.dtype == "float64"
    assert frame.layer_index.dtype == "int64"
    assert frame.step.dtype == "Int64"
    assert frame.step.isna().all()
    assert frame.run.isna().all()
    assert set(frame.job_id) == {report.job_id}


def test_a_wide_frame_has_one_row_for_each_layer(report):
    frame = report.layers_frame()
    assert list(frame.index) == ["layer0", "layer1"]
    assert list(frame.dim) == [6, 5]
    assert list(frame.columns[2:]) == list(report["catalogue"])
    tidy = report.to_pandas()
    again = tidy.pivot(index="layer", columns="metric", values="value")[list(frame.columns[2:])]
    pd.testing.assert_frame_equal(frame.iloc[:, 2:], again, check_names=False)


def test_another_split(report):
    frame = report.layers_frame(split="5")
    of_split = report["layers"][1]["splits"]["5"]["metrics"]["variability_trace_ratio"]
    assert frame.loc["layer1", "variability_trace_ratio"] == of_split
    assert of_split != report["layers"][1]["metrics"]["variability_trace_ratio"]
    assert set(report.to_pandas(split="5").layer) == {"layer0", "layer1"}
    with pytest.raises(KeyError, match="no split '1'; besides the first, this report has 5"):
        report.to_pandas(split="1")


def test_a_report_without_layers_has_the_columns_all_the_same():
    frame = Report(layers=[], catalogue={}).to_pandas()
    assert list(frame.columns) == COLUMNS
    assert frame.value.dtype == "float64"
    assert len(Report(layers=[], catalogue={}).layers_frame()) == 0


def test_a_series_is_the_same_as_the_services_own_files(client, measured_run, tmp_path):
    frame = client.series_frame(measured_run)
    assert list(frame.columns) == COLUMNS
    assert list(frame.step.drop_duplicates().dropna()) == [0, 2, 10]
    for form, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        path = tmp_path / f"series.{form}"
        path.write_bytes(client.series_file(measured_run, format=form))
        same = read(path).astype(dict.fromkeys(("run", "layer", "metric", "job_id"), "str"))  # categories in parquet
        pd.testing.assert_frame_equal(frame, same, check_dtype=False)


def test_a_series_is_asked_for_by_metric_and_layer(client, measured_run):
    frame = client.series_frame(measured_run, metrics=["class_mean_rank"], layers=["head/<b>?.1"])
    assert set(frame.metric) == {"class_mean_rank"}
    assert set(frame.layer) == {"head/<b>?.1"}
    assert len(client.series_frame(measured_run, metrics=["class_mean_rank"], history=True)) == 10


def test_an_empty_series_has_its_types():
    assert (
        series_frame([]).dtypes.astype(str).to_dict()
        == series_frame([dict.fromkeys(COLUMNS, None) | {"layer_index": 0}]).dtypes.astype(str).to_dict()
    )


def test_a_trajectory(client):
    job = client.submit("train_dufm", num_classes=3, depth=2, width=4, steps=20, runs=2, record_every=10)
    training = client.report(client.wait(job)["id"]).training
    frame = training.trajectory.to_pandas()
    loss = frame[frame.metric == "loss"].set_index("step")
    assert loss.loc[20, "min"] <= loss.loc[20, "mean"] <= loss.loc[20, "max"]
    assert loss.loc[20, "mean"] == training.trajectory.loss.mean[-1]
    assert loss.layer.isna().all()
    some = next(iter(training.trajectory.metrics))
    assert set(frame[frame.metric == some].layer) == set(training.trajectory.metrics[some])


def test_a_sweep(client):
    base = {"kind": "train_dufm", "num_classes": 3, "depth": 2, "width": 4, "steps": 10}
    job = client.submit("sweep_dufm", base=base, grid={"weight_decay": [0.01, 0.02], "samples_per_class": [1, 2]})
    sweep = client.report(client.wait(job)["id"]).sweep
    frame = sweep.to_pandas()
    assert list(frame.columns[:2]) == list(sweep.grid)
    assert sorted(zip(frame.weight_decay, frame.samples_per_class, strict=True)) == [
        (0.01, 1),
        (0.01, 2),
        (0.02, 1),
        (0.02, 2),
    ]
    assert list(frame.loss) == [cell.loss for cell in sweep.cells]


def test_without_pandas_it_is_said_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'collapse-client\[pandas\]'"):
        report.to_pandas()
