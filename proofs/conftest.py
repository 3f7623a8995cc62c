"""What all proofs share: the seed, the servers, and the figures that are printed at the end."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgres import PostgresServer, running_postgres
from valkey_server import emptied, running_valkey

DEFAULT_SEED = "1"
Figure = Callable[..., None]
FIGURES = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", default=os.environ.get("PROOF_SEED", DEFAULT_SEED), help="of all that is drawn by lot")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.proof)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        item.config.stash[FIGURES].append((item.name, "seconds", f"{time.monotonic() - started:.1f}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section(f"figures, with seed {config.getoption('--seed')}")
    for proof, name, value in config.stash[FIGURES]:
        terminalreporter.write_line(f"{proof:60} {name}: {value}")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Takes the name of a figure and its value, to be printed at the end."""

    def take(name: str, value: object) -> None:
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        request.config.stash[FIGURES].append((request.node.name, name, shown))

    return take


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """Of everything that is drawn by lot."""
    return str(request.config.getoption("--seed"))


@pytest.fixture
def lot(request: pytest.FixtureRequest, seed: str) -> random.Random:
    """Draws the same for the same proof and seed."""
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody kills."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, empty database; a proof that uses it runs on SQLite and on PostgreSQL."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/database.db"
        else:
            yield stack.enter_context(request.getfixturevalue("postgres").database())


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker that nobody kills."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as (url, _):
        yield url


@pytest.fixture
def broker_url(valkey: str) -> Iterator[str]:
    """The broker, empty before and after."""
    with emptied(valkey):
        yield valkey
