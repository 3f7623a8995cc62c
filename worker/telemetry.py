"""What workers count of jobs and of their own repairs."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from jobs.tables import Job

WAIT_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
RUN_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
Outcome = Literal["requeued", "failed", "cancelled", "resent", "rerouted"]
OUTCOMES: tuple[Outcome, ...] = ("requeued", "failed", "cancelled", "resent", "rerouted")
LEASE_LOST = "lease_lost"


class JobTelemetry:
    """The metrics of the processes that run jobs. `code` is why an attempt ended: `succeeded`, or what was wrong."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waited = Histogram(
            "collapse_job_wait_seconds",
            "Time from submission to the first start, of jobs without children",
            ["kind"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._ran = Histogram(
            "collapse_job_run_seconds",
            "Time that an attempt took",
            ["kind"],
            buckets=RUN_BUCKETS,
            registry=registry,
        )
        self._attempts = Counter("collapse_job_attempts_total", "Jobs taken by a worker", ["kind"], registry=registry)
        self._ended = Counter(
            "collapse_jobs_ended_total", "Attempts that ended, by reason", ["kind", "code"], registry=registry
        )
        self._leases_lost = Counter(
            "collapse_leases_lost_total", "Jobs that a running worker lost to another", registry=registry
        )

    def started(self, job: Job, *, waited_seconds: float) -> None:
        """A job was claimed."""
        self._attempts.labels(job.kind).inc()
        if job.attempts == 1 and not job.num_children:
            self._waited.labels(job.kind).observe(waited_seconds)

    def ended(self, kind: str, code: str, *, seconds: float) -> None:
        """An attempt is over."""
        self._ran.labels(kind).observe(seconds)
        self._ended.labels(kind, code).inc()
        if code == LEASE_LOST:
            self._leases_lost.inc()


class SweepTelemetry:
    """The metrics of the processes that sweep."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._repairs = Counter(
            "collapse_sweep_repairs_total", "Jobs that the sweep mended", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:  # those that never happen are told as zero
            self._repairs.labels(outcome)

    def repaired(self, outcome: Outcome, jobs: int = 1) -> None:
        """So many jobs were mended."""
        self._repairs.labels(outcome).inc(jobs)
