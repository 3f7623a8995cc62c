"""Where the processes that a command starts share their numbers (`jobs.numbers_folder`)."""

import shutil
import socket
from pathlib import Path

from jobs.settings import Settings


def numbers_of_host(settings: Settings) -> Path:
    """Choose the folder of a process that runs by itself: one per host and container, in which process ids differ."""
    return settings.metrics_dir or settings.data_dir.absolute() / "run" / f"metrics-{socket.gethostname()}"


def numbers_of_service(settings: Settings, folder: Path) -> Path:
    """Choose the folder of `collapse serve` on a data folder, and empty it: nobody else writes there."""
    if settings.metrics_dir is not None:
        return settings.metrics_dir
    numbers = folder / "run" / "metrics"
    shutil.rmtree(numbers, ignore_errors=True)
    return numbers
