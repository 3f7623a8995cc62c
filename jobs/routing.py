"""Which queue a job goes to: by what it needs, and by the workers that there are."""

from collections.abc import Sequence
from typing import Any

from analysis.commands import Needs
from jobs.errors import TooLarge
from jobs.tables import CPU, GPU, LARGE_CPU, LARGE_GPU, Worker

WORTH_A_GPU = 2e10
"""Multiply-adds from which a GPU gains more than it costs to bring the work there: a second of one core."""
GIBIBYTE = 2**30


def queue_for(needs: Needs, workers: Sequence[Worker], *, large_job_bytes: int) -> str:
    """The queue of a job.

    Raises TooLarge if there are workers, and none that it fits into. With nobody there yet, it waits for whoever comes.

    >>> queue_for(Needs(multiply_adds=1e12), [], large_job_bytes=2**31)
    'cpu'
    """
    fitting = [worker for worker in workers if worker.memory_bytes >= needs.memory_bytes]
    if workers and not fitting:
        largest = max(worker.memory_bytes for worker in workers)
        raise TooLarge(
            "job_too_large",
            f"This job needs about {needs.memory_bytes / GIBIBYTE:.1f} GiB of memory, and the largest worker has "
            f"{largest / GIBIBYTE:.1f} GiB for a job. Send fewer classes, layers or dimensions per job, leave out what "
            "needs all second moments, or start a worker with more memory.",
        )
    large = needs.memory_bytes > large_job_bytes
    gpu, cpu = (LARGE_GPU, LARGE_CPU) if large else (GPU, CPU)
    served = {queue for worker in fitting for queue in worker.queues}
    return gpu if gpu in served and (needs.multiply_adds >= WORTH_A_GPU or cpu not in served) else cpu


def placement(needs: Needs, workers: Sequence[Worker], *, large_job_bytes: int) -> dict[str, Any]:
    """The columns of a new job that say where it may run."""
    queue = queue_for(needs, workers, large_job_bytes=large_job_bytes)
    return {"queue": queue, "memory_bytes": needs.memory_bytes}


def queues_of(*, gpu: bool, memory_bytes: int, large_job_bytes: int) -> list[str]:
    """The queues that a worker takes jobs from.

    >>> queues_of(gpu=False, memory_bytes=2**30, large_job_bytes=2**31)
    ['cpu']
    """
    classes = [GPU, CPU] if gpu else [CPU]
    if memory_bytes > large_job_bytes:
        classes += [LARGE_GPU, LARGE_CPU] if gpu else [LARGE_CPU]
    return classes
