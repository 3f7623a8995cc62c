"""One attempt at a job, as it is told to Prometheus and to whoever collects traces."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from jobs.tables import Job
from jobs.tracing import context_of, tracer
from worker.telemetry import JobTelemetry

NO_FAILURE = frozenset({"succeeded", "cancelled", "released", "waits_for_children"})


class Attempt:
    """Observes a lease (`worker.lease.Observer`): its phases follow each other as spans within that of the attempt."""

    def __init__(self, job: Job, telemetry: JobTelemetry, span: trace.Span) -> None:
        self._job, self._telemetry, self._span = job, telemetry, span
        self._started = time.monotonic()
        self._phase: str | None = None
        self._phase_span: trace.Span = trace.INVALID_SPAN

    def entered(self, phase: str) -> None:
        """The computation is in this phase, perhaps for long."""
        if phase != self._phase:
            self._phase_span.end()
            self._phase = phase
            self._phase_span = tracer.start_span(phase, context=trace.set_span_in_context(self._span))

    def ended(self, code: str) -> None:
        """The attempt is over, and this is written or known."""
        self._phase_span.end()
        self._span.set_attribute("collapse.code", code)
        if code not in NO_FAILURE:
            self._span.set_status(trace.StatusCode.ERROR, code)
        self._telemetry.ended(self._job.kind, code, seconds=time.monotonic() - self._started)


@contextmanager
def observed(job: Job, telemetry: JobTelemetry, *, waited_seconds: float) -> Iterator[Attempt]:
    """An attempt at a job that was just claimed, in the trace of the request that made the job."""
    telemetry.started(job, waited_seconds=waited_seconds)
    attributes: dict[str, AttributeValue] = {
        "collapse.job_id": job.id,
        "collapse.kind": job.kind,
        "collapse.attempt": job.attempts,
    }
    with tracer.start_as_current_span(
        f"attempt {job.kind}", context=context_of(job), kind=trace.SpanKind.CONSUMER, attributes=attributes
    ) as span:
        yield Attempt(job, telemetry, span)
