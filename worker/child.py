"""The composition root of the child process: what a worker computes with, built once, where torch lives."""

import os
import resource
import signal
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from types import FrameType
from typing import Any

from celery import shared_task, signals

from jobs.artifacts import Artifacts
from jobs.blobs import Blobs
from jobs.errors import Unavailable
from jobs.exposition import Exposition
from jobs.feature_sets import FeatureSets
from jobs.files import PATIENCE_OF_WORKERS_SECONDS, open_file_store
from jobs.logs import configure_logs
from jobs.queue import TASK, Queue, create_celery
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, WorkerStore
from jobs.tracing import configure_tracing, send_the_rest
from worker.gpu_memory import watch_gpu_memory
from worker.machine import look_around
from worker.run import Runner
from worker.telemetry import JobTelemetry

STOP_SIGNAL = signal.SIGUSR2
"""What the parent sends when it is being stopped: the running job goes back to the queue."""

SHARE_OF_GPU = 0.9
"""Of its memory, for one job: the rest is the driver's and torch's own."""

_stopping = threading.Event()


@shared_task(name=TASK)
def run_job(job_id: str) -> None:
    """The one task of the service: the message is an id, the row says the rest."""
    runner().run_job(job_id)


@cache
def runner() -> Runner:
    """Put together at the first use."""
    settings = Settings()
    database = Database(settings.database)
    jobs = JobStore(database)
    device = prepare_torch(settings)
    machine = look_around(settings)
    memory_bytes = memory_of_device(device) or machine.memory_bytes
    WorkerStore(database).arrive(machine.name, device=device, queues=machine.queues, memory_bytes=memory_bytes)
    files = open_file_store(settings, patience_seconds=PATIENCE_OF_WORKERS_SECONDS)
    blobs = Blobs(files, BlobStore(database))
    return Runner(
        settings=settings,
        jobs=jobs,
        feature_sets=FeatureSets(settings, FeaturesStore(database), blobs),
        artifacts=Artifacts(jobs, blobs),
        queue=Queue(create_celery(settings.broker_url)),
        device=device,
        memory_bytes=memory_bytes,
        service_version=version("collapse-service"),
        stopping=_stopping,
        telemetry=create_telemetry(settings, database, device),
    )


def create_telemetry(settings: Settings, database: Database, device: str) -> JobTelemetry:
    """What this process counts, for whoever tells the numbers of this host."""
    exposition = Exposition(settings.metrics_dir)
    exposition.count_connections(database)
    if device.startswith("cuda"):
        watch_gpu_memory(exposition.own, device)
    return JobTelemetry(exposition.own)


def prepare_torch(settings: Settings) -> str:
    """Set the number of threads; the device to compute on (`auto`: CUDA where there is one)."""
    import torch

    torch.set_num_threads(settings.worker_threads)
    if settings.device != "auto":
        return str(torch.device(settings.device))
    return "cuda" if torch.cuda.is_available() else "cpu"


def memory_of_device(device: str) -> int | None:
    """Bytes of a GPU that a job may need; None for a CPU, whose memory is the host's."""
    import torch

    if not device.startswith("cuda"):
        return None
    _, total = torch.cuda.mem_get_info(device)
    return int(SHARE_OF_GPU * total)


@signals.setup_logging.connect
def _leave_logs_alone(**_: Any) -> None:
    """Celery sets none up where somebody says that they do."""


@signals.worker_process_init.connect
def _start_child(**_: Any) -> None:
    settings = Settings()
    configure_logs(settings)
    configure_tracing(settings, service="collapse-worker")
    signal.signal(STOP_SIGNAL, _stop)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each part of a set is an open file, or two
    with suppress(Unavailable):  # the database is away: the first job tries again
        runner()  # torch takes seconds to import: now, not when the first job waits


@signals.worker_process_shutdown.connect
def _end_child(**_: Any) -> None:
    send_the_rest()


def _stop(number: int, frame: FrameType | None) -> None:
    _stopping.set()


def ask_to_stop(process_id: int) -> None:
    """Called in the parent: the child hands its job back and then ends."""
    try:
        os.kill(process_id, STOP_SIGNAL)
    except ProcessLookupError:
        return  # it has ended by itself
