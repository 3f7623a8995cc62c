"""How much of the machine other processes take while something is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType


class Disturbance:
    """Context manager; afterwards `cores` is how many cores others kept busy, on average, while it was open."""

    def __init__(self) -> None:
        self.cores = 0.0
        self._before = 0.0
        self._started = 0.0

    def __enter__(self) -> Disturbance:
        self._before, self._started = _others_seconds(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        elapsed = time.perf_counter() - self._started
        self.cores = max(0.0, _others_seconds() - self._before) / elapsed


def _others_seconds() -> float:
    """CPU time of everybody but this process, and time that a hypervisor took, since the machine started."""
    user, nice, system, _idle, _waiting, *interrupts_and_steal = _cpu_ticks()[:8]
    everybody = (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return everybody - own.user - own.system


def _cpu_ticks() -> list[int]:
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
