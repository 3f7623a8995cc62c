"""`collapse serve` with its real children."""

import os
import signal
import sys
from pathlib import Path

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
