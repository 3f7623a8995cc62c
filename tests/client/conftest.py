"""Feature files as tests want them, good and bad, and a small service to talk to."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from feature_files import feature_arrays
from service_process import running_service

from collapse_client import Client
from collapse_client.format import FeaturesDescription, InvalidFeatures, describe, open_features

LIMIT = 2**24


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Tensors of a sound file; `changes` replace, add or (None) remove, `__` standing for the dot."""
    random = np.random.default_rng(0)
    tensors = {
        "labels": np.arange(12) % 3,
        "features.layer2": random.normal(size=(12, 4)).astype(np.float32),
        "features.layer10": random.normal(size=(12, 5)),
        "weights.layer2": random.normal(size=(5, 4)),
        "biases.layer2": random.normal(size=5),
    }
    return changed(tensors, changes)


def moments_arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Tensors of a sound file of moments, of 3 classes; `changes` as above."""
    random = np.random.default_rng(0)
    samples, directions = random.normal(size=(9, 4)), random.normal(size=(3, 4))
    tensors = {
        "classes": np.array([7, 0, 4]),
        "counts": np.array([5, 1, 6]),
        "means.layer2": random.normal(size=(3, 4)).astype(np.float32),
        "scatter.layer2": np.array([2.0, 0.0, 3.0], np.float32),
        "means.layer10": random.normal(size=(3, 4)),
        "shift.layer10": random.normal(size=(3, 4)),
        "scatter.layer10": np.array([2.0, 0.0, 3.0]),
        "scatter_matrix.layer10": samples.T @ samples,
        "projected_scatter.layer10": directions @ samples.T @ samples @ directions.T,
        "weights.layer10": random.normal(size=(3, 4)),
        "biases.layer10": random.normal(size=3),
    }
    return changed(tensors, changes)


def changed(tensors: dict[str, np.ndarray], changes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    tensors.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in tensors.items() if value is not None}


@pytest.fixture(name="arrays")
def arrays_factory() -> Callable[..., dict[str, np.ndarray]]:
    return arrays


@pytest.fixture(name="moments_arrays")
def moments_arrays_factory() -> Callable[..., dict[str, np.ndarray]]:
    return moments_arrays


@pytest.fixture(params=["safetensors", "npz", "deflated npz"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Write tensors in each of the formats, with the libraries that everybody uses."""

    def save_as(tensors: Mapping[str, np.ndarray]) -> Path:
        path = tmp_path / "features"
        if request.param == "safetensors":
            safetensors.numpy.save_file({name: np.array(value, order="C") for name, value in tensors.items()}, path)
        else:
            write = np.savez if request.param == "npz" else np.savez_compressed
            with path.open("wb") as file:
                write(file, **tensors)
        return path

    return save_as


@pytest.fixture
def raw_safetensors(tmp_path: Path) -> Callable[..., Path]:
    """Write a header as given, as text or as an object, and some bytes of data."""

    def write(header: object, data: bytes = b"", *, length: int = -1) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "raw.safetensors"
        path.write_bytes((len(text) if length < 0 else length).to_bytes(8, "little") + text + data)
        return path

    return write


@pytest.fixture
def describe_path() -> Callable[..., FeaturesDescription]:
    """Open a file, read all of it, close it."""

    def run(path: Path, limit: int = LIMIT) -> FeaturesDescription:
        with open_features(path, max_inflated_bytes=limit) as file:
            return describe(file)

    return run


@pytest.fixture
def refusal_of(save: Callable[..., Path], describe_path: Callable[..., FeaturesDescription]) -> Callable[..., Any]:
    """The InvalidFeatures that a file of these tensors raises."""

    def run(tensors: Mapping[str, np.ndarray]) -> InvalidFeatures:
        path = save(tensors)
        with pytest.raises(InvalidFeatures) as caught:
            describe_path(path)
        assert caught.value.code == "invalid_features"
        return caught.value

    return run


class Service:
    """A real HTTP server that gives prepared answers and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[Any] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.requests.append((self.command, self.path, self.headers, body))
                status, headers, content = service.answers.pop(0)
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def will_answer(self, status: int, content: Any = None, **headers: str) -> None:
        """Queue one answer."""
        body = b"" if content is None else content
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def will_refuse(self, status: int, code: str, detail: str = "Do this.", **headers: str) -> None:
        """Queue one problem."""
        self.will_answer(status, {"status": status, "code": code, "detail": detail, "request_id": "r1"}, **headers)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        service.server.server_close()
        thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    with running(Service()) as service:
        yield service
        assert service.answers == [], "an answer was never asked for"


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real collapse service with one worker, the same for all tests of a process."""
    with running_service(tmp_path_factory.mktemp("collapse") / "data", "--workers", "1") as running:
        yield running.url()


@pytest.fixture(scope="session")
def measured_run(address: str) -> str:
    """The name of a run: steps 0, 2 and 10, of which 2 was sent again; one analysis without a step; odd names."""
    run = "../größer 'run'/\"1\""
    with Client(address) as client:
        jobs = []
        for seed, step in enumerate((0, 2, 10, 2, None)):
            arrays = feature_arrays(num_samples=40, noise=1 / (1 + seed), seed=seed)
            named = {name.replace("layer1", "head/<b>?.1"): values for name, values in arrays.items()}
            jobs.append(client.wait(client.analyse(named, run=run, step=step, layers=["layer0", "head/<b>?.1"])))
        assert len({job["id"] for job in jobs}) == 5
    return run
