"""Prometheus: requests of this process, and the state of the jobs as the database has it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import Unavailable
from jobs.store import RepairStore
from jobs.tables import STATUSES

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Telemetry:
    """The registry behind `/metrics`."""

    def __init__(self, repair: RepairStore) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(JobCollector(repair))
        self._seconds = Histogram(
            "collapse_http_request_duration_seconds",
            "Time from request to the end of the response",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.uploaded_bytes = Counter(
            "collapse_uploaded_bytes_total", "Bytes of feature files received", registry=self.registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        # A client can make up methods without end; each would be a series.
        self._seconds.labels(method if method in METHODS else "other", route, str(status)).observe(seconds)

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class JobCollector(Collector):
    """Counts the jobs when it is asked."""

    def __init__(self, repair: RepairStore) -> None:
        self._repair = repair

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge by status; absent while the database is."""
        jobs = GaugeMetricFamily("collapse_jobs", "Jobs by status", labels=["status"])
        try:
            counts = self._repair.count_by_status()
        except Unavailable:
            return
        for status in STATUSES:
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is read at registration."""
        yield GaugeMetricFamily("collapse_jobs", "Jobs by status", labels=["status"])
