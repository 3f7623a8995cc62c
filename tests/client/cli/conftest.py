"""A real service, the command as a process of its own, and a training that loses rank in its last step."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from feature_files import Arrays
from service_process import running_service

from collapse_client import Client, cli

COMMAND = [sys.executable, "-m", "collapse_client.cli"]
LONG = {"kind": "train_dufm", "steps": 10_000_000, "stop_when": None, "tags": ["long"]}
"""A job that ends by being cancelled."""
RUN, ODD = 'run/1 "<ü>"', 'odd, "name" (x) \\'
NUM_CLASSES = 6


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the service."""
    return tmp_path_factory.mktemp("service") / "data"


@pytest.fixture(scope="session")
def address(folder: Path) -> Iterator[str]:
    """The URL of a real service with one worker, the same for all tests."""
    with running_service(
        folder, "--workers", "1", COLLAPSE_SWEEP_SECONDS="0.3", COLLAPSE_CANCEL_GRACE_SECONDS="1"
    ) as it:
        yield it.url()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture(scope="session")
def environment(address: str) -> dict[str, str]:
    """What the command finds around it: the address of the service, and nothing that changes colours or widths."""
    others = ("COLLAPSE_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**inherited, "COLLAPSE_URL": address, "TERM": "xterm-256color"}


class Printed(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


@pytest.fixture
def collapse(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Printed]:
    """Run `collapse …` in this process, which is quicker: for all but what only a process of its own can show."""
    monkeypatch.setenv("COLLAPSE_URL", address)

    def run(*arguments: object, code: int = 0) -> Printed:
        returned = cli.main(list(map(str, arguments)))
        printed = Printed(*capsys.readouterr())
        assert returned == code, printed
        assert "\x1b" not in printed.stdout + printed.stderr
        return printed

    return run


@pytest.fixture(scope="session")
def process(environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `collapse …` as a process of its own to its end, without a terminal."""

    def run(*arguments: object, code: int = 0, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env={**environment, **more},
        )
        assert done.returncode == code, done.stderr + done.stdout
        assert "\x1b" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def answer(collapse: Callable[..., Printed]) -> Callable[..., Any]:
    """Run `collapse … --json` and read what it prints."""
    return lambda *arguments, **options: json.loads(collapse(*arguments, "--json", **options).stdout)


def step_arrays(step: int) -> Arrays:
    """Features of three layers; at step 2 the class means of head.2 lie on a line."""
    random = np.random.default_rng(step)
    labels = np.arange(NUM_CLASSES * 20) % NUM_CLASSES
    means = {name: np.linalg.qr(random.normal(size=(8, 8)))[0][:NUM_CLASSES] for name in ("head.0", "head.2", ODD)}
    if step == 2:
        means["head.2"] = np.arange(1.0, NUM_CLASSES + 1)[:, None] * means["head.2"][:1]
    noise = 0.1 ** (step + 1)
    arrays = {"labels": labels}
    for name, of_layer in means.items():
        arrays[f"features.{name}"] = of_layer[labels] + noise * random.normal(size=(len(labels), 8))
    arrays[f"weights.{ODD}"] = means[ODD]
    return arrays


@pytest.fixture(scope="session")
def training(address: str) -> str:
    """The name of a run of three steps."""
    with Client(address) as client:
        for job in [client.analyse(step_arrays(step), run=RUN, step=step) for step in range(3)]:
            client.wait(job)
    return RUN


@pytest.fixture
def long_job(client: Client) -> Iterator[str]:
    """A job that keeps the worker busy until the end of the test."""
    job = client.submit(**LONG)
    yield job["id"]
    if client.job(job["id"])["status"] in ("queued", "running"):
        client.cancel(job["id"])


@pytest.fixture
def broken_features(client: Client, folder: Path) -> str:
    """The id of features whose file is gone: a job on them fails."""
    random = np.random.default_rng()
    features = client.upload({"labels": np.arange(8) % 2, "features.a": random.normal(size=(8, 3))})
    [blob] = folder.rglob(f"{features['sha256']}*")
    blob.unlink()
    return features["id"]
