"""One job, from claim to end. A plain function: Celery only rings the bell."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter

from analysis.commands import AnyCommand, ChildrenFirst
from analysis.errors import AnalysisError
from analysis.report import Report
from collapse_client.format import FormatError
from jobs.artifacts import Artifacts, KeptFiles
from jobs.errors import JobsError, Unavailable
from jobs.feature_sets import FeatureSets
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.store import ArtifactFile, JobStore, MeasurementRow, NewJob
from jobs.tables import QUEUED, Job
from jobs.trail import current_trail
from worker.attempt import Attempt, observed
from worker.lease import Lease, Stopped
from worker.surroundings import Surroundings
from worker.telemetry import JobTelemetry

logger = structlog.get_logger()
COMMAND: TypeAdapter[AnyCommand] = TypeAdapter(AnyCommand)


@dataclass(frozen=True)
class Runner:
    """Everything that running a job needs, put together by `worker.app`."""

    settings: Settings
    jobs: JobStore
    feature_sets: FeatureSets
    artifacts: Artifacts
    queue: Queue
    device: str
    memory_bytes: int | None
    """what a job may need here"""
    service_version: str
    stopping: threading.Event
    """Set when the worker is being stopped: the running job goes back to the queue at its next look."""
    telemetry: JobTelemetry = field(default_factory=lambda: JobTelemetry(CollectorRegistry()))

    def run_job(self, job_id: str) -> None:
        """Claim the job, run its command, write its end. Harmless if somebody else has it or it has ended."""
        job = self.jobs.claim(job_id, lease_seconds=self.settings.lease_seconds, memory_bytes=self.memory_bytes)
        if job is None or job.lease_token is None:
            logger.info("job not there to take", job_id=job_id)
            return
        with structlog.contextvars.bound_contextvars(
            request_id=job.request_id, job_id=job.id, kind=job.kind, attempt=job.attempts, owner=job.owner
        ):
            logger.info("job started")
            waited = self.jobs.database.now() - job.created_at
            with (
                observed(job, self.telemetry, waited_seconds=waited.total_seconds()) as attempt,
                self._lease(job, job.lease_token, attempt) as lease,
            ):
                self._run_claimed(job, lease)
            if job.parent_id is not None:
                self._ring_for_parent(job.parent_id)
            self._ring_for_next(job.owner)

    def _lease(self, job: Job, token: str, attempt: Attempt) -> Lease:
        return Lease(self.jobs, self.settings, job_id=job.id, token=token, stopping=self.stopping, observer=attempt)

    def _run_claimed(self, job: Job, lease: Lease) -> None:
        try:
            with self.artifacts.of_running_job() as kept, ExitStack() as placed:
                with failures_as_data():
                    report = COMMAND.validate_python(job.parameters).run(self._surroundings(job, lease, kept))
                    artifacts = placed.enter_context(kept.put_in_place())
                    if isinstance(report, ChildrenFirst):
                        return self._let_children_go_first(job, lease, report, artifacts)
                    body = report.model_dump_json()
                lease.succeed(
                    body=body,
                    etag=hashlib.sha256(body.encode()).hexdigest(),
                    measurements=measurement_rows(report),
                    artifacts=artifacts,
                )
            logger.info("job succeeded")
        except Stopped as stopped:
            logger.info("job stopped", reason=stopped.reason)
            lease.stop(stopped)
        except JobFailure as failure:
            logger.warning("job failed", code=failure.code, detail=failure.detail, exc_info=failure.unexpected)
            lease.fail(code=failure.code, detail=failure.detail)
        except Unavailable as away:
            # The job is not at fault and no attempt is burnt. If it is the database, the lease will run out instead.
            logger.warning("job given back", code=away.code)
            with suppress(Unavailable):
                lease.stop(Stopped("released"))

    def _let_children_go_first(
        self, job: Job, lease: Lease, asked: ChildrenFirst, artifacts: Sequence[ArtifactFile]
    ) -> None:
        """Give the job up until they have ended: a worker that waited would be one fewer to do the work."""
        trail = current_trail()
        # They read what this one reads, and need no more.
        children = lease.wait_for_children(
            [
                NewJob(
                    kind=command.kind,
                    parameters=command.model_dump(mode="json"),
                    features_id=job.features_id,
                    queue=job.queue,
                    memory_bytes=max(job.memory_bytes, command.needs(None).memory_bytes),
                    trail=trail,
                )
                for command in asked.commands
            ],
            artifacts=artifacts,
        )
        logger.info("job waits for children", children=len(children))
        try:
            for job_id in children:
                self.queue.enqueue(job_id, job.queue)
        except Unavailable as error:
            logger.warning("the messages of children are left to the sweep", code=error.code)

    def _surroundings(self, job: Job, lease: Lease, kept: KeptFiles) -> Surroundings:
        return Surroundings(
            job_id=job.id,
            run=job.run,
            step=job.step,
            device=self.device,
            service_version=self.service_version,
            spread_bytes=self.settings.spread_bytes or None,
            feature_sets=self.feature_sets,
            jobs=self.jobs,
            artifacts=self.artifacts,
            lease=lease,
            kept=kept,
        )

    def _ring_for_parent(self, parent_id: str) -> None:
        """Send the parent's message if it waits for nothing but a worker now; if that fails, the sweep sends it."""
        try:
            parent = self.jobs.get(parent_id)
            if parent.status == QUEUED and not parent.pending_children:
                self.queue.enqueue(parent_id, parent.queue)
        except Unavailable as error:
            logger.warning("the message of a parent is left to the sweep", parent_id=parent_id, code=error.code)

    def _ring_for_next(self, owner: str) -> None:
        """Send the messages of jobs that had to wait until one of their owner's had ended; else the sweep does."""
        try:
            for job_id, queue in self.jobs.next_of(owner).items():
                self.queue.enqueue(job_id, queue)
        except Unavailable as error:
            logger.warning("the next job of an owner is left to the sweep", owner=owner, code=error.code)


class JobFailure(Exception):
    """How a job ended that did not succeed, as its view will tell it."""

    def __init__(self, code: str, detail: str, *, unexpected: bool = False) -> None:
        super().__init__(detail)
        self.code, self.detail, self.unexpected = code, detail, unexpected


@contextmanager
def failures_as_data() -> Iterator[None]:
    """Turn what a command raises into the code and the words that the user gets."""
    try:
        yield
    except Stopped:
        raise
    except (AnalysisError, FormatError, JobsError) as error:
        if isinstance(error, Unavailable):
            raise
        raise JobFailure(error.code, str(error)) from error
    except MemoryError as error:
        raise JobFailure("out_of_memory", "The job needs more memory than the worker has. " + FEWER) from error
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch here
            raise JobFailure("out_of_memory", "The job needs more memory than the GPU has. " + FEWER) from error
        raise JobFailure(
            "internal_error",
            "The service failed on this job; its log has the cause under this job's id.",
            unexpected=True,
        ) from error


FEWER = "Send fewer samples, layers or dimensions per job."


def measurement_rows(report: Report) -> list[MeasurementRow]:
    """Every number of the report, one row each."""
    return [
        MeasurementRow(layer=layer.name, layer_index=layer.index, metric=metric, value=value)
        for layer in report.layers
        for metric, value in layer.metrics.items()
    ]
