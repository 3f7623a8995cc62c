"""Health, readiness, numbers, documents, and what happens when a part is away."""

import socket
import subprocess
import sys

import jsonschema
from feature_files import feature_arrays

from analysis.metrics import REGISTRY


def test_alive_and_not_ready_without_a_worker(client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"status": "not_ready", "database": "ok", "broker": "ok", "worker": "away"}


def test_the_numbers_are_there(client, file_of) -> None:
    client.post("/v1/features", content=file_of(feature_arrays()))
    client.get("/v1/jobs/job_x")
    text = client.get("/metrics").text
    assert (
        'collapse_http_request_duration_seconds_count{method="GET",route="/v1/jobs/{job_id}",status="404"} 1.0' in text
    )
    assert 'collapse_jobs{status="queued"} 0.0' in text
    assert "collapse_uploaded_bytes_total" in text
    assert "job_x" not in text


def test_the_catalogue_has_every_metric(client) -> None:
    entries = client.get("/v1/catalogue").json()
    assert [entry["name"] for entry in entries] == list(REGISTRY)
    assert all(entry["title"] and entry["formula"] and entry["reference"] and entry["scope"] for entry in entries)


def test_the_report_schema_is_a_schema(client) -> None:
    jsonschema.Draft202012Validator.check_schema(client.get("/v1/schemas/report.json").json())


def test_the_contract_is_in_the_openapi_document(client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    expected = {
        "/v1/features": {"post"}, "/v1/features/{features_id}": {"get", "delete"},
        "/v1/features/{features_id}/parts/{index}": {"put"}, "/v1/features/{features_id}/complete": {"post"},
        "/v1/jobs": {"get", "post"}, "/v1/jobs/{job_id}": {"get", "delete"}, "/v1/jobs/{job_id}/events": {"get"},
        "/v1/jobs/{job_id}/cancel": {"post"}, "/v1/jobs/{job_id}/report": {"get"}, "/v1/analyses": {"post"},
        "/v1/jobs/{job_id}/artifacts": {"get"}, "/v1/jobs/{job_id}/artifacts/{name}": {"get"},
        "/v1/jobs/{job_id}/plots": {"get"}, "/v1/jobs/{job_id}/plots/{name}.svg": {"get"},
        "/v1/jobs/{job_id}/plots/{name}.png": {"get"}, "/v1/jobs/{job_id}/plots/{name}.vl.json": {"get"},
        "/v1/jobs/{job_id}/report.html": {"get"}, "/v1/jobs/{job_id}/verdict": {"get"},
        "/v1/runs": {"get"}, "/v1/runs/{run}": {"get"}, "/v1/runs/{run}/series": {"get"},
        "/v1/runs/{run}/plots": {"get"},
        **{f"/v1/runs/{{run}}/plots/{{name}}.{form}": {"get"} for form in ("svg", "png", "vl.json")},
        **{f"/v1/optima/plots/phase-diagram.{form}": {"get"} for form in ("svg", "png", "vl.json")},
        "/v1/catalogue": {"get"}, "/v1/schemas/report.json": {"get"},
        "/v1/optima": {"get"}, "/v1/optima/{num_classes}/{depth}": {"get"},
        "/v1/optima/{num_classes}/{depth}/solution.safetensors": {"get"},
        "/v1/audit": {"get"}, "/healthz": {"get"}, "/readyz": {"get"}, "/metrics": {"get"},
    }  # fmt: skip
    assert {path: set(operations) for path, operations in paths.items()} == expected
    for path, operations in paths.items():
        for operation in operations.values():
            problems = [code for code in operation["responses"] if int(code) >= 400]
            assert not path.startswith("/v1") or {"401", "403", "422", "429", "503"} <= set(problems)
            for code in problems:
                if path.startswith("/v1"):
                    assert set(operation["responses"][code]["content"]) == {"application/problem+json"}, (path, code)


def test_a_broker_that_is_away_is_told_and_nothing_is_made(make_client, file_of) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = make_client()
        away = make_client(broker_url=f"redis://127.0.0.1:{unused.getsockname()[1]}/0")
        features = client.post("/v1/features", content=file_of(feature_arrays())).json()["id"]
        for response in (
            away.post("/v1/jobs", json={"kind": "measure_collapse", "features": features}),
            away.post("/v1/analyses", content=file_of(feature_arrays(seed=4))),
        ):
            assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert away.get("/v1/jobs").json()["items"] == []
        assert away.get("/readyz").json()["broker"] == "away"


def test_a_database_that_is_away_is_told(make_client, tmp_path) -> None:
    client = make_client(database_url=f"sqlite:///{tmp_path}/nowhere/x.db")
    response = client.get("/v1/jobs")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/readyz").json()["database"] == "away"


def test_the_api_loads_no_torch() -> None:
    code = "import sys, api.app; api.app.create_app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
