"""How much memory this host has for jobs."""

import os
from pathlib import Path

SHARE_FOR_JOBS = 0.8
"""The rest is for the processes themselves and for the system."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_for_jobs(*, workers: int = 1) -> int:
    """Bytes that a job may need on one of so many workers of this host."""
    return int(SHARE_FOR_JOBS * memory_of_host() / workers)


def memory_of_host() -> int:
    """Bytes that this host has, or its container may use."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [_limit(Path(path)) for path in CGROUP_LIMITS]
    return min([physical, *(limit for limit in limits if limit is not None)])


def _limit(path: Path) -> int | None:
    """Bytes; None where there is no limit, which is a word or a number beyond all memory."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
