"""What a worker has to compute with: its name, its queues, its memory. Free of torch, for the parent process."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from jobs.memory import memory_for_jobs
from jobs.routing import queues_of
from jobs.settings import Settings

NVIDIA = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Machine:
    """Of one worker process."""

    name: str
    gpu: bool
    memory_bytes: int
    queues: tuple[str, ...]


def look_around(settings: Settings) -> Machine:
    """What this worker has; a GPU where the settings allow one and a driver is there."""
    gpu = settings.device.startswith("cuda") or (settings.device == "auto" and NVIDIA.exists())
    memory = settings.worker_memory_bytes or memory_for_jobs()
    return Machine(
        name=settings.worker_name or f"worker-{os.getpid()}@{socket.gethostname()}",
        gpu=gpu,
        memory_bytes=memory,
        queues=tuple(queues_of(gpu=gpu, memory_bytes=memory, large_job_bytes=settings.large_job_bytes)),
    )
