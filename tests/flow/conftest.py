"""The whole service as a user starts it, and the client that users have."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from feature_files import Arrays
from service_process import Service

from collapse_client import Client

QUICK = {
    "COLLAPSE_LEASE_SECONDS": "2",
    "COLLAPSE_SWEEP_SECONDS": "0.3",
    "COLLAPSE_RESEND_AFTER_SECONDS": "0.5",
    "COLLAPSE_CANCEL_GRACE_SECONDS": "1",
}


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    return start_service("--workers", "1", **QUICK)


@pytest.fixture
def connect() -> Iterator[Callable[[Service], Client]]:
    with ExitStack() as clients:
        yield lambda service: clients.enter_context(Client(service.url()))


@pytest.fixture
def slow_arrays() -> Arrays:
    """Features whose spectrum takes many seconds, in many short steps."""
    features = np.random.default_rng(0).normal(size=(8_000, 3_000)).astype(np.float16)
    return {"labels": np.arange(8_000) % 4, "features.wide": features}
