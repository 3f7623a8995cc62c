"""The composition root of the child process: what a worker computes with, built once, where torch lives."""

import os
import signal
import threading
from functools import cache
from importlib.metadata import version
from types import FrameType
from typing import Any

from celery import shared_task, signals

from jobs.artifacts import Artifacts
from jobs.blobs import Blobs
from jobs.feature_sets import FeatureSets
from jobs.files import FileStore
from jobs.logs import configure_logs
from jobs.queue import TASK, Queue, create_celery
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, WorkerStore
from worker.machine import look_around
from worker.run import Runner

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
    blobs = Blobs(FileStore(settings.blob_folder), BlobStore(database))
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
    )


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


@signals.worker_process_init.connect
def _start_child(**_: Any) -> None:
    configure_logs()
    signal.signal(STOP_SIGNAL, _stop)
    runner()  # torch takes seconds to import: now, not when the first job waits


def _stop(number: int, frame: FrameType | None) -> None:
    _stopping.set()


def ask_to_stop(process_id: int) -> None:
    """Called in the parent: the child hands its job back and then ends."""
    try:
        os.kill(process_id, STOP_SIGNAL)
    except ProcessLookupError:
        return  # it has ended by itself
