"""The API in this process, on a real broker and on both databases; jobs run when a test says so."""

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
from server.address import listen, url_of
from worker.run import Runner


@pytest.fixture
def make_settings(tmp_path: Path, migrated_url: str, broker_url: str) -> Callable[..., Settings]:
    def make(**changes: object) -> Settings:
        own = {"data_dir": tmp_path / "data", "database_url": migrated_url, "broker_url": broker_url}
        return Settings(**{**own, **changes})

    return make


class ApiClient(httpx.Client):
    """A client of a real server that runs in this process, so that a test can also look behind it."""

    services: Services


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run uvicorn in a thread on a free port."""
    with listen("127.0.0.1", 0, app.state.services.settings) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the start of uvicorn")
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def client_of(settings: Settings) -> Iterator[ApiClient]:
    """Run a service with these settings, and give a client of it."""
    app = create_app(settings)
    with serving(app) as url, ApiClient(base_url=url, timeout=60) as client:
        client.services = app.state.services
        yield client


@pytest.fixture
def make_client(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., ApiClient]]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(client_of(make_settings(**changes)))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def lasting_client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: str
) -> Iterator[ApiClient]:
    """One service for all requests that are refused: they leave nothing behind. On SQLite and on PostgreSQL."""
    folder = tmp_path_factory.mktemp("lasting")
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/database.db"
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres").database())
        settings = Settings(data_dir=folder / "data", database_url=migrated(url), broker_url=valkey)
        yield stack.enter_context(client_of(settings))


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
