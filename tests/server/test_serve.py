"""`collapse serve` with its real children."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from service_process import wait_for
from valkey_server import redis_client

from server import embedded


def is_ready(service):
    return service.get("/readyz")[0] == 200


def kill_child(service, name):
    """Kill -9, then wait for the second start."""
    os.kill(service.child(name), signal.SIGKILL)
    assert service.child(name, start=2) != service.child(name)


def test_every_child_may_die_and_the_end_is_clean(start_service, tmp_path):
    """One service lives through all of it, because each start takes seconds."""
    service = start_service()
    url = service.url()
    assert is_ready(service)

    with redis_client(embedded.broker_url(tmp_path / "data" / "broker" / "valkey.sock")) as client:
        client.set("accepted", "job")
    kill_child(service, "broker")
    wait_for(lambda: is_ready(service), "the broker's return", 60)
    with redis_client(embedded.broker_url(tmp_path / "data" / "broker" / "valkey.sock")) as client:
        assert client.get("accepted") == b"job"

    kill_child(service, "api")
    assert service.get("/healthz")[0] == 200
    assert service.url() == url

    kill_child(service, "worker-1")
    wait_for(lambda: is_ready(service), "the worker's return", 60)

    assert service.stop() == 0
    assert service.survivors() == []


def test_answers_that_are_held_back_end_in_order_with_the_service(start_service):
    service = start_service()
    long = {"kind": "train_dufm", "num_classes": 4, "depth": 3, "steps": 10**6}
    with httpx.Client(base_url=service.url() + "/v1", timeout=60) as http, ThreadPoolExecutor() as threads:
        job = http.post("/jobs", json=long).json()["id"]
        begun = threading.Event()

        def follow():
            with http.stream("GET", f"/jobs/{job}/events") as stream:
                lines = []
                for line in stream.iter_lines():  # a stream that is cut off raises
                    lines.append(line)
                    begun.set()
                return lines

        stream = threads.submit(follow)
        held = threads.submit(http.get, f"/jobs/{job}", params={"wait": 60})
        assert begun.wait(60)
        wait_for(lambda: service.get(f"/v1/jobs/{job}")[1].count('"running"'), "the job's start")
        assert service.stop() == 0
        assert any(line.startswith("data:") for line in stream.result(timeout=60))
        assert held.result(timeout=60).json()["id"] == job
    assert "graceful shutdown exceeded" not in service.errors.read_text()
    assert service.survivors() == []


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """A current directory with packages of our names, as a user's project may well have them."""
    for name in ("server", "api", "jobs", "worker"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    monkeypatch.chdir(tmp_path / "project")


@pytest.mark.usefixtures("strangers")
def test_killed_supervisor_leaves_nothing(start_service):
    service = start_service("--workers", "2", command=(str(Path(sys.executable).with_name("collapse")),))
    service.url()
    service.stop(signal.SIGKILL)
    wait_for(lambda: not service.survivors(), "the end of all")


def test_external_broker_and_database_take_the_place_of_the_embedded(start_service, tmp_path, broker_url, postgres):
    with postgres.database() as database_url:
        service = start_service(COLLAPSE_BROKER_URL=broker_url, COLLAPSE_DATABASE_URL=database_url)
        service.url()
        assert is_ready(service)
        assert not (tmp_path / "data" / "broker").exists()
        assert not (tmp_path / "data" / "collapse.db").exists()
        assert service.stop() == 0
        assert service.survivors() == []
