"""Real servers for all tests: a Valkey and a PostgreSQL per session, a fresh database and a clean broker per test."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from object_store import ObjectStore, running_object_store
from postgres import PostgresServer, running_postgres
from schema import migrated, migrated_sqlite
from service_process import LONG_GRACE, QUICK, Service, running_service
from valkey_server import emptied, running_valkey

from deployment.cluster import running_cluster
from deployment.topology import Cluster

# Whoever starts the tests in the background of a shell has Ctrl-C ignored, by all that they start in turn. Some of the
# tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARING = ("tests/client/cli", "tests/client/recording", "tests/figures", "tests/pages")
"""Folders whose tests share what takes seconds to start: a service, a browser, the engine that draws."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a group in one process: pytest-xdist 3.8 writes its name where pytest 9.2 no longer reads it."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        marker = item.get_closest_marker("xdist_group")
        folder = item.path.parent.relative_to(config.rootpath).as_posix()
        group = marker.args[0] if marker is not None else folder if folder in SHARING else None
        if group is not None and not item.nodeid.endswith(suffix := f"@{group}"):
            item._id = NodeId.parse(item.nodeid + suffix)


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a real broker, on a Unix socket in a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder, running_valkey(Path(folder)) as (url, _):
        yield url


@pytest.fixture
def broker_url(valkey: str) -> Iterator[str]:
    """The broker, as Celery wants it, empty before and after the test."""
    with emptied(valkey):
        yield valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; `postgres.database()` gives a fresh database."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A real S3 server; `object_store.bucket()` gives a fresh place in it."""
    with running_object_store() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A factory of fresh databases (their URLs), empty or migrated; a test that uses it runs on both kinds."""
    numbers = count(1)
    with ExitStack() as databases:

        def make(*, migrated: bool = False) -> str:
            if request.param == "sqlite":
                path = tmp_path / f"database_{next(numbers)}.db"
                if migrated:
                    path.write_bytes(migrated_sqlite())
                return f"sqlite:///{path}"
            server: PostgresServer = request.getfixturevalue("postgres")
            template = request.getfixturevalue("migrated_postgres") if migrated else "template1"
            return databases.enter_context(server.database(template=template))

        yield make


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database with our tables, for others to be copied from."""
    with postgres.database() as url:
        yield migrated(url).rpartition("/")[2]


@pytest.fixture
def database_url(make_database: Callable[..., str]) -> str:
    """The URL of one fresh, empty database; the test runs on SQLite and on PostgreSQL."""
    return make_database()


@pytest.fixture
def migrated_url(make_database: Callable[..., str]) -> str:
    """The URL of one fresh database with our tables, as `collapse migrate` leaves it; on SQLite and on PostgreSQL."""
    return make_database(migrated=True)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """A factory of real services on one data folder: start_service("--workers", "2", COLLAPSE_X="…")."""
    with ExitStack() as services:

        def start(*arguments: str, **settings: str) -> Service:
            return services.enter_context(running_service(tmp_path / "data", *arguments, **settings))

        yield start


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once, by the tests of the group `cluster`: pytest-xdist runs them in one process."""
    settings = {**QUICK, **LONG_GRACE, "COLLAPSE_SPREAD_BYTES": str(2**20)}
    with running_cluster(tmp_path_factory.mktemp("cluster"), settings=settings) as cluster:
        yield cluster


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """Two APIs and three workers, which share a broker, a database and an object store; whole before and after."""
    yield session_cluster
    for process in (*session_cluster.apis.values(), *session_cluster.workers.values()):
        if not process.running():
            process.start()
    session_cluster.wait_until_ready()
