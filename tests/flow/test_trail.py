"""One id from the request to the worker's lines, through the whole service."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from feature_files import feature_arrays, write_file
from service_process import Service, wait_for

pytestmark = pytest.mark.timeout(300)
SWEEP = {
    "kind": "sweep_dufm",
    "base": {"kind": "train_dufm", "num_classes": 2, "depth": 2, "width": 4, "steps": 50, "runs": 1},
    "grid": {"feature_decay": [0.01, 0.02]},
    "repeats": 1,
}


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url(), timeout=60) as client:
        yield client


@pytest.fixture
def lines(service: Service) -> Callable[..., list[dict[str, Any]]]:
    """Every line that the service has logged so far, with the given entries; the broker writes its own."""

    def read(**entries: Any) -> list[dict[str, Any]]:
        whole = service.errors.read_text().rpartition("\n")[0].splitlines()
        objects = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in objects if entries.items() <= line.items()]

    return read


def test_an_id_leads_from_the_request_to_the_lines_of_the_worker(service, http, lines, tmp_path) -> None:
    file = write_file(tmp_path / "f.safetensors", feature_arrays()).read_bytes()
    answer = http.post(
        "/v1/analyses", content=file, params={"run": "r"}, headers={"X-Request-ID": "mine.1", "Prefer": "wait=60"}
    )
    job = answer.json()
    assert (answer.headers["x-request-id"], job["status"]) == ("mine.1", "succeeded")
    (request,) = wait_for(lambda: lines(request_id="mine.1", event="request"), "the line of the request")
    assert (request["method"], request["path"], request["status"]) == ("POST", "/v1/analyses", 200)
    ids = {"request_id": "mine.1", "job_id": job["id"], "attempt": 1, "kind": "measure_collapse", "owner": ""}
    wait_for(lambda: lines(event="job succeeded", **ids), "the worker's last line")
    assert len(lines(event="job started", **ids)) == 1

    sweep = http.post("/v1/jobs", json=SWEEP, headers={"X-Request-ID": "mine.2"}).json()
    assert http.get(f"/v1/jobs/{sweep['id']}", params={"wait": 60}).json()["status"] == "succeeded"
    wait_for(lambda: len(lines(event="job succeeded", request_id="mine.2")) == 3, "the lines of parent and children")
    started = {line["job_id"] for line in lines(event="job started", request_id="mine.2")}
    children = http.get("/v1/jobs", params={"parent": sweep["id"]}).json()["items"]
    assert started == {sweep["id"], *(child["id"] for child in children)}
    loggers = {line["logger"] for line in lines()}
    assert {"server", "api.middleware", "worker.run"} <= loggers
    assert any(name.startswith("celery") for name in loggers)
    assert any(name.startswith("uvicorn") for name in loggers)
    others = [line for line in service.errors.read_text().splitlines() if not line.startswith("{")]
    assert not [line for line in others if "celery" in line.lower() or "INFO" in line or "Traceback" in line], others
