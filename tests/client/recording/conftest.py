"""A service for all tests that only use it, and what a Recorder wrote where nobody answers."""

import socket
from contextlib import ExitStack

import pytest
import safetensors.torch
from service_process import running_service

from collapse_client import Client, Recorder
from collapse_client.recording.spool import finished_steps, parts_of


@pytest.fixture(scope="session")
def service_url(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service") / "data", "--workers", "1") as service:
        yield service.url()


@pytest.fixture(scope="session")
def client(service_url):
    with Client(service_url) as client:
        yield client


@pytest.fixture
def nobody():
    """An address at which nobody answers, for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def make_recorder(spool, nobody):
    """A factory of Recorders whose steps stay on disk; they are closed at the end."""
    with ExitStack() as recorders:

        def make(model, layers, **options):
            defaults = {"run": "r", "url": nobody, "spool": spool, "close_timeout": 0.0, "when_full": "spill"}
            recorder = Recorder(model, layers, **{**defaults, **options})
            recorders.callback(recorder.close)
            return recorder

        yield make


@pytest.fixture
def written(spool):
    """Close a Recorder, and give its steps: of each a list of parts, of each the tensors by name."""

    def close_and_read(recorder):
        recorder.close()
        return [[safetensors.torch.load_file(part) for part in parts_of(step)] for step in finished_steps(spool)]

    return close_and_read
