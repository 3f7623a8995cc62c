"""Real servers for all tests: a Valkey and a PostgreSQL per session, a fresh database and a clean broker per test."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
import redis
from postgres import PostgresServer, end_with_parent, running_postgres

from server import embedded


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a real broker, on a Unix socket in a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as scratch:
        folder = Path(scratch)
        address = embedded.make_socket_path(folder)
        process = subprocess.Popen(
            embedded.command(embedded.find_binary(), folder=folder, address=address),
            stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent(signal.SIGTERM),
        )  # fmt: skip
        try:
            url = embedded.broker_url(address)
            _wait_for_broker(url, process)
            yield url
        finally:
            process.kill()
            process.wait()


def _wait_for_broker(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis.from_url(embedded.client_url(url)) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)


@pytest.fixture
def broker_url(valkey: str) -> Iterator[str]:
    """The broker, as Celery wants it, empty before and after the test."""
    with redis.Redis.from_url(embedded.client_url(valkey)) as client:
        client.flushall()
        yield valkey
        client.flushall()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; `postgres.database()` gives a fresh database."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A factory of fresh, empty databases (their URLs); a test that uses it runs on SQLite and on PostgreSQL."""
    numbers = count(1)
    with ExitStack() as databases:

        def make() -> str:
            if request.param == "sqlite":
                return f"sqlite:///{tmp_path}/database_{next(numbers)}.db"
            server: PostgresServer = request.getfixturevalue("postgres")
            return databases.enter_context(server.database())

        yield make


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """The URL of one fresh, empty database; the test runs on SQLite and on PostgreSQL."""
    return make_database()
