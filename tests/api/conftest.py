"""The API in this process, on a real broker and on both databases; jobs run when a test says so."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from feature_files import Arrays, write_file
from schema import migrated
from service_process import wait_for

from api.app import create_app, create_services
from api.services import Services
from jobs.settings import Settings
from jobs.tables import ApiKey
from worker.run import Runner


@pytest.fixture
def make_settings(tmp_path: Path, database_url: str, broker_url: str) -> Callable[..., Settings]:
    url = migrated(database_url)

    def make(**changes: object) -> Settings:
        return Settings(**{"data_dir": tmp_path / "data", "database_url": url, "broker_url": broker_url, **changes})

    return make


class ApiClient(httpx.Client):
    """A client of a real server that runs in this process, so that a test can also look behind it."""

    services: Services


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run uvicorn in a thread on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the start of uvicorn")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def make_client(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., ApiClient]]:
    with ExitStack() as stack:

        def make(**changes: object) -> ApiClient:
            app = create_app(make_settings(**changes))
            url = stack.enter_context(serving(app))
            client = stack.enter_context(ApiClient(base_url=url, timeout=60))
            client.services = app.state.services
            return client

        yield make


@pytest.fixture
def client(make_client: Callable[..., ApiClient]) -> ApiClient:
    return make_client()


@pytest.fixture
def make_key(request: pytest.FixtureRequest) -> Callable[..., tuple[ApiKey, dict[str, str]]]:
    """A factory of keys: their rows, and the headers that send them; without an owner, each has one of its own."""

    def make(client: ApiClient | None = None, **changes: object) -> tuple[ApiKey, dict[str, str]]:
        client = client or request.getfixturevalue("client")
        row, key = client.services.keys.create(**{"owner": None, "scopes": ["read", "write"], **changes})
        return row, {"Authorization": f"Bearer {key}"}

    return make


@pytest.fixture
def run_jobs(make_settings: Callable[..., Settings]) -> Iterator[Callable[[], None]]:
    """Runs every job whose message is in the broker, as a worker's child does."""
    services = create_services(make_settings())
    runner = Runner(
        settings=services.settings, jobs=services.jobs, feature_sets=services.feature_sets,
        artifacts=services.artifacts, queue=services.queue, device="cpu", memory_bytes=None, service_version="test",
        stopping=threading.Event(),
    )  # fmt: skip

    def run() -> None:
        for job_id in services.queue.waiting():
            runner.run_job(job_id)

    yield run
    services.queue.close()
    services.database.close()


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[Arrays], bytes]:
    def read(arrays: Arrays, **metadata: str) -> bytes:
        return write_file(tmp_path / "features.safetensors", arrays, **metadata).read_bytes()

    return read
