"""Event files, read back with TensorBoard's own reader."""

import io
import math
import re

import numpy as np
import pytest

from collapse_client import Client
from collapse_client.errors import NothingToExport, ServiceError
from collapse_client.exports.steps import seconds

pytestmark = pytest.mark.xdist_group("tensorboard")
ODD = "head/<b>?.1"


@pytest.fixture(scope="module")
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def tensorboard():
    """Imported here: not every test process needs it."""
    from collapse_client.exports import tensorboard

    return tensorboard


@pytest.fixture(scope="module")
def read():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "tensors", "images"), 0))
        events.Reload()
        return events

    return read


def scalars(events, tag):
    """Step and value of a curve."""
    from tensorboard.util.tensor_util import make_ndarray

    return [(event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]


def plugin(events, tag):
    return events.SummaryMetadata(tag).plugin_data.plugin_name


@pytest.fixture(scope="module")
def exported(client, measured_run, tensorboard, tmp_path_factory):
    return tensorboard.export_run(client, measured_run, tmp_path_factory.mktemp("runs"))


def test_the_folder_is_that_of_the_run_whatever_it_is_called(exported, measured_run):
    assert exported.name == measured_run.replace("/", "%2F").replace('"', "%22")
    assert [path.suffix for path in exported.iterdir()] == [".collapse"]


def test_every_value_of_the_series_is_there_and_nothing_else(client, measured_run, exported, read):
    expected = {}
    for row in client.series(measured_run):
        if row["value"] is not None and row["step"] is not None:
            expected.setdefault(f"{row['metric']}/{row['layer']}", []).append((row["step"], row["value"]))
    events = read(exported)
    found = {tag: scalars(events, tag) for tag in events.Tags()["tensors"] if plugin(events, tag) == "scalars"}
    assert found.keys() == expected.keys()
    for tag, points in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points]
        assert [value for _, value in found[tag]] == [np.float32(value) for _, value in points]
    assert {step for step, _ in found[f"class_mean_rank/{ODD}"]} == {0, 2, 10}


def test_the_times_are_those_of_the_training(client, measured_run, exported, read):
    steps = {step["step"]: seconds(step["created_at"]) for step in client.run(measured_run)["steps"]}
    for event in read(exported).Tensors("class_mean_rank/layer0"):
        assert event.wall_time == pytest.approx(steps[event.step], abs=1e-3)


def test_formulas_charts_spectra_and_figures_come_along(client, measured_run, exported, read):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.util.tensor_util import make_ndarray

    events = read(exported)
    entry = next(entry for entry in client.catalogue() if entry["name"] == "variability_trace_ratio")
    assert entry["formula"] in events.SummaryMetadata(f"variability_trace_ratio/{ODD}").summary_description
    [layout] = events.Tensors("custom_scalars__config__")
    charts = layout_pb2.Layout.FromString(make_ndarray(layout.tensor_proto).item()).category[0].chart
    chart = next(chart for chart in charts if chart.title == entry["title"])
    drawn = [tag for tag in events.Tags()["tensors"] if any(re.match(line, tag) for line in chart.multiline.tag)]
    assert drawn == ["variability_trace_ratio/layer0", f"variability_trace_ratio/{ODD}"]
    report = client.report(client.run(measured_run)["steps"][1]["job_id"])
    spectrum = report.layer(ODD).spectra.class_means
    histogram = events.Tensors(f"class_mean_singular_values/{ODD}")[1]
    buckets = make_ndarray(histogram.tensor_proto)
    assert histogram.step == 2
    assert buckets[:, 2].sum() == len(spectrum)
    assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((spectrum[-1], spectrum[0]))


def test_figures_are_pictures(exported, read):
    from PIL import Image

    images = read(exported)
    assert "figures/ranks" in images.Tags()["images"]
    for tag in images.Tags()["images"]:
        [image] = images.Images(tag)
        assert Image.open(io.BytesIO(image.encoded_image_string)).size == (image.width, image.height)
        assert image.step == 10


def test_exporting_again_replaces(client, measured_run, exported, read, tensorboard):
    others = exported / "events.out.tfevents.1.mine"
    others.write_bytes(b"")
    tensorboard.export_run(
        client,
        measured_run,
        exported.parent,
        metrics=["class_mean_rank"],
        layers=[ODD],
        histograms=False,
        figures=False,
    )
    events = read(exported)
    assert [tag for tag in events.Tags()["tensors"] if plugin(events, tag) == "scalars"] == [f"class_mean_rank/{ODD}"]
    assert len(scalars(events, f"class_mean_rank/{ODD}")) == 3
    assert others.exists()
    assert len(list(exported.iterdir())) == 2


def test_a_training_of_the_model_of_the_theory(client, tensorboard, read, tmp_path):
    job = client.submit("train_dufm", num_classes=3, depth=2, width=4, steps=40, record_every=10)
    report = client.report(client.wait(job)["id"])
    events = read(tensorboard.export_report(report, tmp_path / "dufm"))
    trajectory = report.training.trajectory
    assert scalars(events, "loss") == [
        (step, np.float32(loss)) for step, loss in zip(trajectory.step, trajectory.loss.mean, strict=True)
    ]
    there = events.Tags()["tensors"]
    for metric, layers in trajectory.metrics.items():
        for layer, band in layers.items():
            values = [np.float32(value) for value in band.mean if value is not None]
            assert (f"{metric}/{layer}" in there) == bool(values)
            assert not values or [value for _, value in scalars(events, f"{metric}/{layer}")] == values
    last = report.layers[-1]
    only_at_the_end = next(
        name for name, value in last.metrics.items() if value is not None and name not in trajectory.metrics
    )
    assert scalars(events, f"{only_at_the_end}/{last.name}") == [(40, np.float32(last.metrics[only_at_the_end]))]


def test_a_report_stands_at_its_step(client, measured_run, tensorboard, read, tmp_path):
    report = client.report(client.run(measured_run)["steps"][2]["job_id"])
    events = read(tensorboard.export_report(dict(report), tmp_path))
    value = report.layers[0].metrics["variability_trace_ratio"]
    assert not math.isnan(value)
    assert scalars(events, "variability_trace_ratio/layer0") == [(10, np.float32(value))]


def test_a_run_that_is_not_there_and_one_without_reports(client, tensorboard, tmp_path):
    with pytest.raises(ServiceError, match="nowhere") as caught:
        tensorboard.export_run(client, "nowhere", tmp_path)
    assert caught.value.code == "run_not_found"
    client.cancel(client.submit("train_dufm", num_classes=3, depth=2, steps=10_000_000, run="unmeasured")["id"])
    with pytest.raises(NothingToExport, match="'unmeasured' has no report"):
        tensorboard.export_run(client, "unmeasured", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_breaks_off_leaves_the_earlier_one(client, measured_run, tensorboard, tmp_path, monkeypatch):
    folder = tensorboard.export_run(client, measured_run, tmp_path, histograms=False, figures=False)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    jobs = [step["job_id"] for step in client.run(measured_run)["steps"]]

    def gone(job_id):
        raise ServiceError(status=404, code="job_not_found", detail=f"gone: {job_id}")

    monkeypatch.setattr(client, "plots", gone)
    with pytest.raises(ServiceError, match=f"gone: {jobs[2]}"):
        tensorboard.export_run(client, measured_run, tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
