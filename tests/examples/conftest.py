"""The demo as a process of its own, shortened, in a scratch folder."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from service_process import Service

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@contextmanager
def running_demo(folder: Path, *arguments: str) -> Iterator[Service]:
    """Run the demo with its files in `folder`; whatever is left of it at the end is killed."""
    mark = uuid.uuid4().hex
    output, errors = (folder.parent / f"{mark}.{kind}" for kind in ("out", "err"))
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, DEMO, "--folder", folder, *arguments],
            # A setting that points elsewhere must not reach the demo's own service.
            env={**os.environ, "TEST_MARK": mark, "COLLAPSE_BROKER_URL": "redis://127.0.0.1:1/0"},
            stdout=out,
            stderr=err,
        )
    demo = Service(process, mark, output, errors)
    try:
        yield demo
    finally:
        demo.end()


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """A factory of demos, all in one folder."""
    with ExitStack() as demos:

        def start(*arguments: str) -> Service:
            return demos.enter_context(running_demo(tmp_path / "demo", *arguments))

        yield start


@pytest.fixture(scope="module")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A demo of eight epochs that has ended by itself, and its folder."""
    folder = tmp_path_factory.mktemp("finished") / "demo"
    with running_demo(folder, "--epochs", "8") as demo:
        demo.process.wait(100)
        yield demo, folder
