"""Runs and their series over HTTP, on SQLite and on PostgreSQL."""

import csv
import io
import json
from datetime import datetime
from urllib.parse import quote

import pyarrow.parquet
import pytest
from feature_files import feature_arrays

from analysis.metrics import catalogue

HOSTILE_RUNS = [
    "a/b",
    "a/b/series",
    "/",
    "50 %",
    "%2F",
    "a%2Fb",
    "α β 😀",
    "?x=1&y#z",
    "…",
    "...",
    "a;b=c",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "plots",
    "\\",
    "v1",
    "a" * 255,
]
HOSTILE_LAYERS = ["a,b", 'say "no"', "<b>&amp;", "=1+1", "..", " ", "x" * 256, "α 😀"]
METRICS = ("class_mean_rank", "variability_trace_ratio", "self_duality_distance")
COLUMNS = ["run", "step", "layer", "layer_index", "metric", "value", "job_id"]


def address(run: str) -> str:
    return f"/v1/runs/{quote(run, safe='')}"


@pytest.fixture
def analyse(client, file_of, run_jobs):
    """A factory of analyses that have ended: their run and step, and the features; their ids."""
    contents = {}

    def make(run, step=None, *, run_them=True, **features) -> str:
        key = json.dumps(features)
        if key not in contents:
            arrays = feature_arrays(**{name: value for name, value in features.items() if name != "layers"})
            for index, name in enumerate(features.get("layers", ())):
                arrays[f"features.{name}"] = arrays.pop(f"features.layer{index}")
            if "layers" in features:
                arrays = {name: array for name, array in arrays.items() if not name.startswith("weights.")}
            contents[key] = file_of(arrays)
        params = {"run": run, "metrics": ",".join(METRICS)}
        params |= {} if step is None else {"step": step}
        answer = client.post("/v1/analyses", params=params, content=contents[key])
        assert answer.status_code == 202, answer.text
        if run_them:
            run_jobs()
        return answer.json()["id"]

    return make


def test_runs_are_listed_last_changed_first(client, analyse) -> None:
    assert client.get("/v1/runs").json() == {"items": [], "next_cursor": None}
    for run, step in (("one", 1), ("two", 1), ("one", 2)):
        analyse(run, step)
    first, second = client.get("/v1/runs").json()["items"]
    assert (first["run"], first["num_jobs"], first["num_steps"], first["first_step"], first["last_step"]) == (
        "one", 2, 2, 1, 2,
    )  # fmt: skip
    assert first["jobs"] == {"queued": 0, "running": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
    assert second["run"] == "two"
    assert datetime.fromisoformat(first["updated_at"]) > datetime.fromisoformat(second["updated_at"])
    for link in first["links"].values():
        assert client.get(link).status_code == 200, link
    assert [item["run"] for item in client.get("/v1/runs?query=WO").json()["items"]] == ["two"]


def test_pages_hold_every_run_once(client, analyse) -> None:
    for number in range(7):
        analyse(f"run {number} α", number, run_them=False)
    seen, cursor = [], None
    while True:
        page = client.get("/v1/runs", params={"limit": 3, "query": "run", **({"cursor": cursor} if cursor else {})})
        seen += [item["run"] for item in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"run {number} α" for number in reversed(range(7))]


def test_a_run_has_steps_layers_and_metrics(client, analyse) -> None:
    first, again = analyse("r", 3), analyse("r", 3, seed=1)
    without = analyse("r", None)
    queued = analyse("r", 3, run_them=False)
    view = client.get("/v1/runs/r").json()
    assert view["layers"] == ["layer0", "layer1"]
    assert view["metrics"] == sorted(METRICS)
    assert [
        tuple(step[name] for name in ("step", "job_id", "status", "replaced", "others")) for step in view["steps"]
    ] == [
        (3, again, "succeeded", [first], [queued]),
        (None, without, "succeeded", [], []),
    ]


def test_the_series_is_what_the_reports_say(client, analyse) -> None:
    reports = {step: client.get(f"/v1/jobs/{analyse('r', step, seed=step)}/report").json() for step in (1, 2)}
    rows = client.get("/v1/runs/r/series").json()
    assert list(rows[0]) == COLUMNS
    assert rows == [
        {"run": "r", "step": step, "layer": layer["name"], "layer_index": layer["index"], "metric": metric,
         "value": layer["metrics"][metric], "job_id": report["job_id"]}
        for step, report in reports.items() for layer in report["layers"] for metric in sorted(layer["metrics"])
    ]  # fmt: skip
    assert any(row["value"] is None for row in rows)
    few = client.get("/v1/runs/r/series?metric=class_mean_rank&layer=layer1").json()
    assert [(row["step"], row["layer"], row["metric"]) for row in few] == [
        (step, "layer1", "class_mean_rank") for step in (1, 2)
    ]


@pytest.mark.parametrize("layers", [["layer0", "layer1"], HOSTILE_LAYERS])
def test_every_format_holds_the_same(client, analyse, layers) -> None:
    run = 'a, "b"'
    for step in (0, None):
        analyse(run, step, layers=layers, dims=[3] * len(layers))
    series = f"{address(run)}/series"
    rows = client.get(series).json()
    assert len(rows) == 2 * 3 * len(layers)
    assert {row["layer"] for row in rows} == set(layers)
    as_csv = client.get(series, params={"format": "csv"})
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    header, *lines = csv.reader(io.StringIO(as_csv.text, newline=""))
    assert header == COLUMNS
    assert lines == [["" if value is None else str(value) for value in row.values()] for row in rows]
    as_parquet = client.get(series, params={"format": "parquet"})
    assert as_parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet.content))
    assert table.to_pylist() == rows
    # Categories would make pandas' groupby give every combination of run, step and layer.
    assert {table.schema.field(name).type for name in ("run", "layer", "metric", "job_id")} == {pyarrow.string()}
    for layer in layers:
        found = client.get(series, params={"layer": [layer, layers[0]]}).json()
        assert {row["layer"] for row in found} == {layer, layers[0]}


def test_runs_are_compared(client, analyse) -> None:
    analyse("r", 1)
    analyse("s / 2", 1, dims=[6])
    rows = client.get("/v1/runs/r/series", params={"compare": "s / 2", "metric": "class_mean_rank"}).json()
    assert [(row["run"], row["layer"]) for row in rows] == [("r", "layer0"), ("r", "layer1"), ("s / 2", "layer0")]


def test_history_shows_what_was_replaced(client, analyse) -> None:
    ids = [analyse("r", 1), analyse("r", 1, seed=1)]
    rows = client.get("/v1/runs/r/series?metric=class_mean_rank&layer=layer0&history=true").json()
    assert [row["job_id"] for row in rows] == ids
    rows = client.get("/v1/runs/r/series?metric=class_mean_rank&layer=layer0").json()
    assert [row["job_id"] for row in rows] == ids[1:]


def test_every_name_has_an_address(client, analyse, run_jobs) -> None:
    for run in HOSTILE_RUNS:
        analyse(run, 1, run_them=False)
    run_jobs()
    items = client.get("/v1/runs").json()["items"]
    assert {item["run"] for item in items} == set(HOSTILE_RUNS)
    for item in items:
        run = item["run"]
        assert item["links"]["self"] == address(run)
        assert client.get(item["links"]["self"]).json()["run"] == run
        for link in item["links"].values():
            assert client.get(link).status_code == 200, link
        assert [job["run"] for job in client.get(item["links"]["jobs"]).json()["items"]] == [run]
        assert {row["run"] for row in client.get(item["links"]["series"]).json()} == {run}
        assert client.get(f"{item['links']['plots']}/class_mean_rank.vl.json").status_code == 200


def test_a_slash_in_a_name_is_not_one_in_the_address(client, analyse) -> None:
    analyse("a/series", 1)
    assert client.get("/v1/runs/a%2Fseries").json()["run"] == "a/series"
    missing = client.get("/v1/runs/a/series")
    assert (missing.status_code, missing.json()["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("run", [".", "..", " ", "\u00a0 "])
def test_names_that_are_no_addresses_are_refused(client, file_of, run) -> None:
    refused = client.post("/v1/analyses", params={"run": run}, content=file_of(feature_arrays()))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_a_run_that_is_none_is_told(client) -> None:
    for run in ("nowhere", "%00", "a%0Ab", "x" * 256, "%FF", "%ED%A0%80"):
        for rest in ("", "/series", "/plots", "/plots/class_mean_rank.svg"):
            missing = client.get(f"/v1/runs/{run}{rest}")
            assert (missing.status_code, missing.json()["code"]) == (404, "run_not_found"), run
            assert "GET /v1/runs" in missing.json()["detail"]


def test_what_a_run_does_not_have_is_told_with_what_it_has(client, analyse) -> None:
    analyse("r", 1)
    for query, code, word in (
        ("metric=nothing", "metric_not_found", "class_mean_rank"),
        ("metric=equinorm", "metric_not_found", "class_mean_rank"),
        ("metric=%00", "metric_not_found", "class_mean_rank"),
        ("layer=nothing", "layer_not_found", "layer0, layer1"),
        ("compare=nothing", "run_not_found", "GET /v1/runs"),
    ):
        missing = client.get(f"/v1/runs/r/series?{query}")
        assert (missing.status_code, missing.json()["code"]) == (404, code)
        assert word in missing.json()["detail"]
    assert client.get("/v1/runs/r/series?format=xml").json()["code"] == "invalid_request"
    assert client.get("/v1/runs?cursor=x").json()["code"] == "invalid_request"
    assert client.get("/v1/runs/r/plots/nothing.svg").json()["code"] == "metric_not_found"


def test_what_has_not_changed_is_not_sent_again(client, analyse) -> None:
    analyse("r", 1)
    addresses = [f"/v1/runs/r{rest}" for rest in ("", "/series", "/series?format=csv", "/plots/class_mean_rank.svg")]
    etags = {address: client.get(address).headers["etag"] for address in addresses}
    assert len(set(etags.values())) == len(etags)
    for address, etag in etags.items():
        again = client.get(address, headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    analyse("r", 2)
    for address, etag in etags.items():
        assert client.get(address, headers={"If-None-Match": etag}).status_code == 200


def test_figures_are_listed_and_come_in_every_form(client, analyse) -> None:
    for step in range(3):
        analyse("a/b", step, seed=step)
    analyse("s", 1)
    listed = client.get(f"{address('a/b')}/plots").json()
    assert {plot["name"] for plot in listed} == set(METRICS)
    for plot in listed:
        assert catalogue()[plot["name"]].title in plot["title"]
        assert b"<svg" in client.get(plot["svg"]).content
        assert client.get(plot["png"], params={"theme": "dark"}).content.startswith(b"\x89PNG")
        specification = client.get(plot["vega_lite"], params={"compare": "s", "theme": "dark"}).json()
        assert specification["config"]["background"] != "#ffffff"
        assert specification["layer"][-1]["encoding"]["color"]["scale"]["domain"] == ["layer0", "layer1"]


def test_there_is_no_figure_without_a_value(client, analyse) -> None:
    analyse("r", None)
    for metric in ("class_mean_rank", "self_duality_distance"):
        missing = client.get(f"/v1/runs/r/plots/{metric}.svg")
        assert (missing.status_code, missing.json()["code"]) == (404, "plot_not_found")


def test_the_requests_of_all_runs_are_counted_together(client, analyse) -> None:
    analyse("a/b", 1, run_them=False)
    for run in ("a/b", "c d"):
        client.get(address(run))
    told = client.get("/metrics").text
    for status in (200, 404):
        assert f'route="/v1/runs/{{run}}",status="{status}"}} 1.0' in told
