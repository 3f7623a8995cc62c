"""Which worker computes where: one worker process for each GPU, the others on the CPU."""

import os
from pathlib import Path

from jobs.settings import Settings

DRIVER = Path("/proc/driver/nvidia/gpus")
"""The NVIDIA driver's folder, with an entry for each GPU."""


def devices_of(settings: Settings, *, workers: int, gpus: int) -> list[str]:
    """The device of each worker; two that shared a GPU would only wait for each other, and for its memory.

    >>> devices_of(Settings(device="auto"), workers=3, gpus=2)
    ['cuda:0', 'cuda:1', 'cpu']
    >>> devices_of(Settings(device="cuda:1"), workers=1, gpus=2)
    ['cuda:1']
    """
    if settings.device != "auto" or not gpus:
        return [settings.device] * workers
    return [f"cuda:{number}" if number < gpus else "cpu" for number in range(workers)]


def count_gpus() -> int:
    """How many there are here, less those that CUDA_VISIBLE_DEVICES hides."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])
    return len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
