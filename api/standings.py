"""How database, broker and disk stand when Prometheus asks; what is away is told as such and keeps nobody waiting."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import Unavailable
from jobs.queue import Queue
from jobs.store import CensusStore, WorkerStore
from jobs.tables import CPU, STATUSES

PATIENCE_SECONDS = 2.0
Ask = Callable[[], list[GaugeMetricFamily]]


class Standings(Collector):
    """Asks each part in a thread of its own: one that hangs is asked again only when it has answered."""

    def __init__(self, parts: Mapping[str, Ask]) -> None:
        self._parts = {name: _Part(ask) for name, ask in parts.items()}
        self._one_at_a_time = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families of the parts that answer, and which those are."""
        with self._one_at_a_time:
            deadline = time.monotonic() + PATIENCE_SECONDS
            for part in self._parts.values():
                part.begin()
            answers = {name: part.answer(deadline) for name, part in self._parts.items()}
        up = GaugeMetricFamily("collapse_up", "Whether a part of the service answers", labels=["part"])
        for name, families in answers.items():
            up.add_metric([name], families is not None)
            yield from families or ()
        yield up

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is asked at registration."""
        return ()


class _Part:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._thread: threading.Thread | None = None
        self._families: list[GaugeMetricFamily] | None = None

    def begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._families = None
            self._thread = threading.Thread(target=self._run, name="standing", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._families = self._ask()
        except (Unavailable, OSError):
            self._families = None

    def answer(self, deadline: float) -> list[GaugeMetricFamily] | None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._families


def of_database(census: CensusStore, workers: WorkerStore) -> Ask:
    """Jobs, blobs and workers, as their tables have them."""

    def ask() -> list[GaugeMetricFamily]:
        counts = census.jobs_by_status()
        devices = [worker.device for worker in workers.present()]
        present = {CPU: 0} | {device: devices.count(device) for device in devices}
        blobs = GaugeMetricFamily("collapse_blobs_bytes", "Size of all stored files", value=census.blob_bytes())
        return [
            _by("collapse_jobs", "Jobs by status", "status", {status: counts.get(status, 0) for status in STATUSES}),
            _by("collapse_workers", "Workers heard of lately, by device", "device", present),
            blobs,
        ]

    return ask


def of_broker(queue: Queue) -> Ask:
    """Messages that lie in the queues."""
    return lambda: [_by("collapse_queue_depth", "Messages waiting for a worker", "queue", queue.depths())]


def of_disk(folder: Path) -> Ask:
    """Room where this process keeps its data."""

    def ask() -> list[GaugeMetricFamily]:
        usage = shutil.disk_usage(folder)
        return [
            GaugeMetricFamily("collapse_disk_free_bytes", "Free on the disk of the data folder", value=usage.free),
            GaugeMetricFamily("collapse_disk_size_bytes", "Size of the disk of the data folder", value=usage.total),
        ]

    return ask


def _by(name: str, words: str, label: str, numbers: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family
