"""The memory that a computation takes at its peak, over what the process held before."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from types import TracebackType


class PeakMemory:
    """Context manager; afterwards `extra_mib` is the peak of resident memory less what was resident at the start.

    Freed memory is given back to the system first, so that nobody lives on what another one left behind.
    """

    def __init__(self) -> None:
        self.extra_mib = 0.0
        self._before = 0.0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._before = _status_mib("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.extra_mib = max(_status_mib("VmHWM") - self._before, 0.0)


def _status_mib(entry: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry)]
    return int(line.split()[1]) / 1024
