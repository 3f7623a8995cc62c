"""What the API counts of its requests, uploads and streams, and what `/metrics` tells besides."""

from prometheus_client import Counter, Gauge, Histogram

from api.standings import Standings
from jobs.exposition import Exposition

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0)


class Telemetry:
    """The metrics of the API processes."""

    def __init__(self, exposition: Exposition, standings: Standings) -> None:
        self._exposition = exposition
        self._seconds = Histogram(
            "collapse_http_request_duration_seconds",
            "Time from request to the end of the response",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=exposition.own,
        )
        self.uploaded_bytes = Counter(
            "collapse_uploaded_bytes_total", "Bytes of feature files received", registry=exposition.own
        )
        self.uploads = Gauge(
            "collapse_uploads_in_flight",
            "Bodies that are being received",
            registry=exposition.own,
            multiprocess_mode="livesum",
        )
        self.listeners = Gauge(
            "collapse_sse_listeners",
            "Open streams of job events",
            registry=exposition.own,
            multiprocess_mode="livesum",
        )
        exposition.told.register(standings)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        # A client can make up methods without end; each would be a series.
        self._seconds.labels(method if method in METHODS else "other", route, str(status)).observe(seconds)

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return self._exposition.text()
