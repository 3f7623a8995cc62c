"""Runs, series and pages through the client, from a real service; and what the client asks for, word by word."""

import csv
import io
import json
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow.parquet
import pytest

from collapse_client import Client, ServiceError

RUN = "resnet / 50 % α"
LAYERS = ["conv, 1", "</td>"]


@pytest.fixture
def client(service):
    with Client(service.url, retry_seconds=0) as client:
        yield client


def asked(service):
    """Path and query of the last request."""
    split = urlsplit(service.requests[-1][1])
    return split.path, parse_qsl(split.query)


def test_a_run_through_a_real_service(start_service):
    service = start_service("--workers", "1", OMP_NUM_THREADS="1")
    generator = np.random.default_rng(0)
    with Client(service.url()) as client:
        for run, step in ((RUN, 0), (RUN, 1), (RUN, 1), ("other", 1)):
            tensors = {f"features.{layer}": generator.normal(size=(60, 5)) for layer in LAYERS}
            job = client.wait(client.analyse({"labels": np.arange(60) % 3, **tensors}, run=run, step=step))
        assert [run["run"] for run in client.runs(limit=1)] == ["other", RUN]
        assert [run["run"] for run in client.runs(query="50 %")] == [RUN]
        view = client.run(RUN)
        assert [step["step"] for step in view["steps"]] == [0, 1]
        assert len(view["steps"][1]["replaced"]) == 1
        assert set(view["layers"]) == set(LAYERS)
        rows = client.series(RUN, metrics=["class_mean_rank"], layers=LAYERS)
        assert {(row["step"], row["layer"], row["metric"]) for row in rows} == {
            (step, layer, "class_mean_rank") for step in (0, 1) for layer in LAYERS
        }
        assert len(client.series(RUN, metrics=["class_mean_rank"], history=True)) == 6
        everything = client.series(RUN, compare="other")
        assert {row["run"] for row in everything} == {RUN, "other"}
        assert len(everything) == 6 * len(view["metrics"])
        assert json.loads(client.series_file(RUN, compare="other", format="json")) == everything
        assert pyarrow.parquet.read_table(io.BytesIO(client.series_file(RUN, format="parquet"))).to_pylist() == [
            row for row in everything if row["run"] == RUN
        ]
        lines = list(csv.DictReader(io.StringIO(client.series_file(RUN, compare="other").decode(), newline="")))
        assert [line["layer"] for line in lines] == [row["layer"] for row in everything]
        assert "class_mean_rank" in {plot["name"] for plot in client.run_plots(RUN)}
        assert b"<svg" in client.run_plot(RUN, "class_mean_rank", layers=LAYERS[:1], compare="other")
        assert client.run_plot(RUN, "class_mean_rank", "png", theme="dark").startswith(b"\x89PNG")
        assert client.phase_diagram("png", decay=0.004).startswith(b"\x89PNG")
        assert client.report_html(job["id"]).startswith(b"<!doctype html>")
        assert client.verdict(job["id"])[0].endswith("collapsed.")
        with pytest.raises(ServiceError, match="no metric 'x'") as caught:
            client.series(RUN, metrics=["x"])
        assert (caught.value.status, caught.value.code) == (404, "metric_not_found")


def test_names_are_sent_one_by_one(client, service):
    service.will_answer(200, [])
    client.series("a/b", metrics=["m", "n"], layers=["x,y"], compare="c d", history=True)
    assert asked(service) == (
        "/v1/runs/a%2Fb/series",
        [("metric", "m"), ("metric", "n"), ("layer", "x,y"), ("compare", "c d"), ("history", "true")],
    )
    service.will_answer(200, b"run\r\n")
    assert client.series_file("%2F") == b"run\r\n"
    assert asked(service) == ("/v1/runs/%252F/series", [("format", "csv")])


def test_a_string_is_no_list_of_names(client):
    for call in (client.series, client.series_file):
        with pytest.raises(TypeError, match="list of names"):
            call("r", metrics="class_mean_rank")
    with pytest.raises(TypeError, match="list of names"):
        client.run_plot("r", "class_mean_rank", layers="conv")


def test_figures_are_asked_for_by_theme_and_form(client, service):
    for call, address in (
        (lambda: client.run_plot("a b", "m", "vl.json", theme="dark"), "/v1/runs/a%20b/plots/m.vl.json"),
        (lambda: client.plot("job_1", "ranks", "png", theme="dark"), "/v1/jobs/job_1/plots/ranks.png"),
        (lambda: client.phase_diagram("svg", theme="dark"), "/v1/optima/plots/phase-diagram.svg"),
    ):
        service.will_answer(200, b"figure")
        assert call() == b"figure"
        assert asked(service) == (address, [("theme", "dark")])
