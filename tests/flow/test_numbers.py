"""Numbers of all processes from any of them, through deaths; and dashboard and alerts that ask for what there is."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from feature_files import feature_arrays, write_file
from prometheus_client.parser import text_string_to_metric_families
from service_process import Service, wait_for

pytestmark = pytest.mark.timeout(300)
DEPLOYMENT = Path(__file__).parents[2] / "deployment"
ONLY_ON_A_GPU = {"collapse_gpu_memory_used_bytes"}
OF_PROMETHEUS = {"le", "instance", "job"}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(url: str) -> Samples:
    families = text_string_to_metric_families(httpx.get(url, timeout=30).raise_for_status().text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


@pytest.fixture
def worker_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture
def service(start_service: Callable[..., Service], worker_port: int) -> Service:
    quick = {"COLLAPSE_LEASE_SECONDS": "2", "COLLAPSE_SWEEP_SECONDS": "0.3"}
    return start_service("--workers", "2", COLLAPSE_WORKER_METRICS_PORT=str(worker_port), **quick)


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url(), timeout=60) as client:
        yield client


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard and of the alerts."""
    dashboard = json.loads((DEPLOYMENT / "grafana" / "collapse.json").read_text())
    rules = yaml.safe_load((DEPLOYMENT / "prometheus-alerts.yml").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    return [entry["expr"] for entry in (*targets, *alerts)]


def names_and_labels(expression: str) -> tuple[set[str], set[str]]:
    grouped = [label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")]
    selected = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    return set(re.findall(r"\bcollapse_\w+", expression)), {*grouped, *selected} - OF_PROMETHEUS


def test_numbers_of_all_processes_survive_deaths_and_feed_the_dashboard(
    service: Service, http: httpx.Client, worker_port: int, tmp_path: Path
) -> None:
    file = write_file(tmp_path / "f.safetensors", feature_arrays()).read_bytes()
    for step in range(4):
        job = http.post("/v1/analyses", content=file, params={"step": step}, headers={"Prefer": "wait=60"}).json()
        assert job["status"] == "succeeded"
    address = f"{service.url()}/metrics"
    told = read(address)
    succeeded = {"kind": "measure_collapse", "code": "succeeded"}
    assert value(told, "collapse_jobs_ended_total", **succeeded) == 4
    assert value(told, "collapse_job_attempts_total", kind="measure_collapse") == 4
    assert value(told, "collapse_job_wait_seconds_count", kind="measure_collapse") == 4
    assert value(told, "collapse_job_run_seconds_count", kind="measure_collapse") == 4
    assert value(told, "collapse_uploaded_bytes_total") == 4 * len(file)
    assert value(told, "collapse_blobs_bytes") == len(file)
    assert value(told, "collapse_workers", device="cpu") == 2
    assert value(told, "collapse_jobs", status="succeeded") == 4
    assert value(told, "collapse_queue_depth", queue="cpu") == 0
    assert {value(told, "collapse_up", part=part) for part in ("database", "broker", "disk")} == {1}
    assert value(read(f"http://127.0.0.1:{worker_port}"), "collapse_jobs_ended_total", **succeeded) == 4

    with http.stream("GET", f"/v1/jobs/{_slow_job(http)}/events"):
        wait_for(lambda: value(read(address), "collapse_sse_listeners") == 1, "the listener to be counted")
    wait_for(lambda: value(read(address), "collapse_sse_listeners") == 0, "the listener to be gone")

    for name in ("worker-1", "worker-2", "api"):
        os.kill(service.child(name), signal.SIGKILL)
        service.child(name, start=2)
    wait_for(lambda: service.get("/readyz")[0] == 200, "the return of all", 60)
    after = wait_for(
        lambda: (found := read(address)) and value(found, "collapse_sweep_repairs_total", outcome="requeued") and found,
        "the repair of the job whose worker was killed", 60,
    )  # fmt: skip
    assert value(after, "collapse_jobs_ended_total", **succeeded) == 4
    assert value(after, "collapse_uploaded_bytes_total") == 4 * len(file)

    names = {name for name, _ in after}
    labels = {label for _, pairs in after for label, _ in pairs}
    asked = expressions()
    assert len(asked) > 20
    for expression in asked:
        wanted, by = names_and_labels(expression)
        assert wanted, expression
        assert wanted - ONLY_ON_A_GPU <= names, expression
        assert by <= labels, expression
    for _, pairs in after:  # nothing that grows with use
        assert not [text for _, text in pairs if text.startswith(("job_", "feat"))]


def _slow_job(http: httpx.Client) -> str:
    slow = {"kind": "train_dufm", "num_classes": 4, "depth": 3, "steps": 10**6}
    job: dict[str, Any] = http.post("/v1/jobs", json=slow).json()
    wait_for(lambda: http.get(f"/v1/jobs/{job['id']}").json()["status"] == "running", "the start of the job")
    return str(job["id"])
