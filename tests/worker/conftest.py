"""Stores, feature sets and real worker processes on a real broker."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from feature_files import Arrays, feature_arrays, write_file
from service_process import wait_for

from api.app import create_services
from api.services import Services
from jobs.settings import Settings
from jobs.store import NewJob
from jobs.tables import Job
from worker.run import Runner
from worker.sweep import Sweep

QUICK = {"lease_seconds": 2.0, "sweep_seconds": 0.2, "resend_after_seconds": 0.5, "cancel_grace_seconds": 1.0}


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str, broker_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=migrated_url, broker_url=broker_url, **QUICK)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    services = create_services(settings)
    yield services
    services.queue.close()
    services.database.close()


@pytest.fixture
def runner(services: Services) -> Runner:
    return Runner(
        settings=services.settings,
        jobs=services.jobs,
        feature_sets=services.feature_sets,
        artifacts=services.artifacts,
        queue=services.queue,
        device="cpu",
        memory_bytes=None,
        service_version="test",
        stopping=threading.Event(),
    )


@pytest.fixture
def make_sweep() -> Callable[[Services], Sweep]:
    """A factory: the parts of the service → its sweep."""

    def make(services: Services) -> Sweep:
        return Sweep(
            services.settings,
            repair=services.repair,
            workers=services.workers,
            queue=services.queue,
            feature_sets=services.feature_sets,
            artifacts=services.artifacts,
        )

    return make


@pytest.fixture
def upload(services: Services, tmp_path: Path) -> Callable[[Arrays], str]:
    def add(arrays: Arrays) -> str:
        with services.feature_sets.files.stage() as staged:
            staged.write(write_file(tmp_path / "upload.safetensors", arrays).read_bytes())
            staged.finish()
            return services.feature_sets.add_whole(staged, layer_order=None)[0].id

    return add


@pytest.fixture
def submit(services: Services, upload: Callable[[Arrays], str]) -> Callable[..., Job]:
    """Makes a job, on small features unless others are given; sends its message unless told not to."""

    def make(
        *,
        features: str | None = None,
        send: bool = True,
        run: str | None = None,
        step: int | None = None,
        queue: str = "cpu",
        memory_bytes: int = 0,
        **parameters: object,
    ) -> Job:
        features = features or upload(feature_arrays())
        command = {"kind": "measure_collapse", "features": features, **parameters}
        job, _ = services.jobs.create(
            NewJob(
                kind="measure_collapse",
                parameters=command,
                features_id=features,
                run=run,
                step=step,
                queue=queue,
                memory_bytes=memory_bytes,
            )
        )
        if send:
            services.queue.enqueue(job.id, queue)
        return job

    return make


@pytest.fixture
def slow_features(upload: Callable[[Arrays], str]) -> str:
    """Features whose spectrum takes seconds: long enough to interrupt, in many short steps."""
    generator = np.random.default_rng(0)
    labels = np.arange(6_000) % 4
    return upload({"labels": labels, "features.wide": generator.normal(size=(6_000, 2_000)).astype(np.float16)})


@contextmanager
def running_worker(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    values = {f"COLLAPSE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_none=True).items()}
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "worker"],
            env={**os.environ, **values},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it has ended already, with all that it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def start_worker(
    settings: Settings, services: Services, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts `python -m worker` and returns once it answers."""
    with ExitStack() as workers:

        def start() -> subprocess.Popen[bytes]:
            process = workers.enter_context(running_worker(settings, tmp_path / "worker.log"))
            wait_for(services.queue.worker_answers, "the answer of a worker", seconds=60)
            return process

        yield start


@pytest.fixture
def ended(services: Services) -> Callable[..., Job]:
    """Waits until a job has ended and gives it."""

    def wait(job: Job, seconds: float = 90) -> Job:
        def look() -> Job | None:
            found = services.jobs.get(job.id)
            return found if found.status in ("succeeded", "failed", "cancelled") else None

        found: Job = wait_for(look, f"the end of {job.id}", seconds=seconds)
        return found

    return wait


@pytest.fixture
def under_way(services: Services) -> Callable[[Job], Job]:
    """Waits until a job has made progress, so that it is in the middle of its computation."""

    def wait(job: Job) -> Job:
        def look() -> Job | None:
            found = services.jobs.get(job.id)
            return found if found.status == "running" and found.current else None

        found: Job = wait_for(look, f"progress of {job.id}", seconds=60)
        return found

    return wait


def children_of(process_id: int) -> list[int]:
    """The processes that this one has started."""
    listed = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [int(child) for child in listed.split()]


@pytest.fixture
def computing_child() -> Callable[[int], int]:
    """Finds the pool's process among the children of a worker; the other one is multiprocessing's resource tracker."""

    def find(process_id: int) -> int:
        commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(process_id)}
        (found,) = [child for child, command in commands.items() if b"spawn_main" in command]
        return found

    return find
