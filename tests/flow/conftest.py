"""The whole service as a user starts it, and as many machines run it; and the client that users have."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from feature_files import Arrays
from service_process import LONG_GRACE, QUICK, Service, running_service

from collapse_client import Client
from deployment.topology import Cluster

SHORT_GRACE = {"COLLAPSE_CANCEL_GRACE_SECONDS": "1"}


class InTurn:
    """A client each of whose calls goes to another API than the one before."""

    def __init__(self, *clients: Client) -> None:
        self._clients = itertools.cycle(clients)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._clients), name)


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    """`collapse serve`, which waits a moment only until it ends the process of a cancelled job."""
    return start_service("--workers", "1", **QUICK, **SHORT_GRACE)


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """A factory of clients: of a service, or of an address."""
    with ExitStack() as clients:

        def make(service: Service | str, api_key: str | None = None, **options: Any) -> Client:
            url = service if isinstance(service, str) else service.url()
            return clients.enter_context(Client(url, api_key=api_key, **options))

        yield make


@pytest.fixture
def clients(cluster: Cluster, connect: Callable[..., Client]) -> list[Client]:
    """One of each API."""
    return [connect(url, cluster.api_key) for url in cluster.urls]


TOPOLOGIES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("serve", "cluster")]


@pytest.fixture(scope="session")
def session_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`collapse serve`, started once, by the tests of the group `serve`; nobody kills a part of it."""
    folder = tmp_path_factory.mktemp("serve") / "data"
    with running_service(folder, "--workers", "2", **QUICK, **LONG_GRACE) as service:
        yield service


@pytest.fixture(params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> str:
    """A test that uses it runs on both."""
    return str(request.param)


@pytest.fixture
def num_workers(topology: str) -> int:
    """That the client's service has."""
    return {"serve": 2, "cluster": 3}[topology]


@pytest.fixture
def client(topology: str, request: pytest.FixtureRequest) -> Client | InTurn:
    """Of a service on one machine, or of a cluster, whose APIs it uses in turn."""
    if topology == "cluster":
        return InTurn(*request.getfixturevalue("clients"))
    client: Client = request.getfixturevalue("connect")(request.getfixturevalue("session_service"))
    return client


@pytest.fixture
def slow_arrays() -> Arrays:
    """Features whose spectrum takes seconds, in many short steps."""
    features = np.random.default_rng(0).normal(size=(6_000, 2_000)).astype(np.float16)
    return {"labels": np.arange(6_000) % 4, "features.wide": features}
