"""The same files on a GPU: how close reading and copying come to what disk and bus give."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.cases import Case, make_data, warm_up
from benchmarks.ours import measure_file

LARGE = Case(1_200_000, 2048, 100)
"""A feature file of 10 GB."""
CHUNK_BYTES = 64 << 20


def run(cases: Sequence[Case], *, repeats: int, folder: Path) -> None:
    """Print one line for each file and state of the page cache; or that there is no GPU."""
    if not torch.cuda.is_available():
        print("no GPU here")
        return
    copying = copy_rate()
    print(f"on {torch.cuda.get_device_name()}, pinned host-to-device copy: {copying / 1e9:.1f} GB/s")
    print(f"{'N,d,K':>18} {'page cache':>10} {'measure, s':>10} {'GB/s':>7} {'file read, GB/s':>15} {'share':>7}")
    for case in (*cases[:3], LARGE):
        path = folder / "features.safetensors"
        size = make_data(case).write(path)
        for state, prepare in {"with it": warm_up, "without": drop_from_page_cache}.items():
            seconds = _best(repeats, path, prepare, lambda path: measure_file(path, device="cuda"))
            reading = size / _best(repeats, path, prepare, read_file)
            print(_line(case, state, size / seconds, seconds, reading, min(copying, reading)), flush=True)


def _line(case: Case, state: str, reached: float, seconds: float, reading: float, slower: float) -> str:
    return (
        f"{case!s:>18} {state:>10} {seconds:10.3f} {reached / 1e9:7.2f} {reading / 1e9:15.2f} {reached / slower:7.0%}"
    )


def copy_rate() -> float:
    """Bytes per second from pinned memory to the device."""
    source = torch.empty(CHUNK_BYTES, dtype=torch.uint8).pin_memory()
    target = torch.empty_like(source, device="cuda")
    seconds = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - started)
    return CHUNK_BYTES / seconds


def read_file(path: Path) -> None:
    """Read all of it into one buffer."""
    buffer = bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def drop_from_page_cache(path: Path) -> None:
    """Let the next reader go to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _best(repeats: int, path: Path, prepare: Callable[[Path], object], run: Callable[[Path], object]) -> float:
    """Shortest time of `run`, the file being prepared each time; once more before, for what starts only once."""
    seconds = []
    for _ in range(repeats + 1):
        prepare(path)
        started = time.perf_counter()
        run(path)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
