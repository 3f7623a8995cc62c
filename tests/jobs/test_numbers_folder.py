"""Numbers of several processes in one folder, told by any of them, and what becomes of those that die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from jobs.exposition import Exposition
from jobs.numbers_folder import NumbersFolder

COUNTING = """
import pathlib, sys
from prometheus_client import Counter, Gauge, Histogram
from jobs.exposition import Exposition
exposition = Exposition(pathlib.Path(sys.argv[1]))
Counter("done_total", "", ["kind"], registry=exposition.own).labels("a").inc(int(sys.argv[2]))
seconds = Histogram("run_seconds", "", buckets=(1, 10), registry=exposition.own)
for _ in range(int(sys.argv[2])):
    seconds.observe(5)
Gauge("in_flight", "", registry=exposition.own, multiprocess_mode="livesum").set(int(sys.argv[2]))
print(exposition.text().decode(), end="\\0", flush=True)
sys.stdin.read()
"""


class Counting:
    """A process that has counted and waits for its end."""

    def __init__(self, folder: Path, amount: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(folder), str(amount)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self.process.stdout.fileno(), 65536)
        self.told = text[:-1].decode()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def count(tmp_path: Path) -> Iterator[Callable[[int], Counting]]:
    with ExitStack() as processes:

        def start(amount: int) -> Counting:
            counting = Counting(tmp_path / "numbers", amount)
            processes.callback(counting.process.stdin.close)
            processes.callback(counting.process.stdout.close)
            processes.callback(counting.kill)
            return counting

        yield start


def samples(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_any_process_tells_the_sum_and_the_dead_have_counted(count, tmp_path) -> None:
    count(3)
    second = count(4)
    both = samples(second.told)
    assert both["done_total a"] == 7
    assert (both["run_seconds_bucket 1.0"], both["run_seconds_bucket 10.0"], both["run_seconds_sum"]) == (0, 7, 35)
    assert both["in_flight"] == 7
    second.kill()
    for _ in range(2):  # the past is the past: it is not counted again
        third = count(1)
        now = samples(third.told)
        third.kill()
    assert now["done_total a"] == 3 + 4 + 1 + 1
    assert (now["run_seconds_count"], now["run_seconds_sum"]) == (9, 45)
    assert now["in_flight"] == 3 + 1
    owners = {path.stem.rpartition("_")[2] for path in (tmp_path / "numbers").glob("*.db")}
    assert "past" in owners
    assert str(second.process.pid) not in owners


def test_without_room_the_numbers_of_the_process_alone_are_told(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    exposition = Exposition(tmp_path / "numbers")
    assert exposition.told is exposition.own
    assert isinstance(exposition.own, CollectorRegistry)


def test_files_have_their_room_on_the_disk_from_the_start(count, tmp_path) -> None:
    """A hole in a mapped file ends the process with SIGBUS when the disk is full."""
    count(1)
    files = list((tmp_path / "numbers").glob("*.db"))
    assert files
    assert all(path.stat().st_blocks * 512 >= path.stat().st_size for path in files)
    assert NumbersFolder(tmp_path / "numbers").collect()
