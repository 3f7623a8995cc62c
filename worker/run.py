"""One job, from claim to end. A plain function: Celery only rings the bell."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import TypeAdapter

from analysis.commands import AnyCommand
from analysis.errors import AnalysisError
from analysis.report import Report
from collapse_client.format import FormatError
from jobs.errors import JobsError, Unavailable
from jobs.feature_sets import FeatureSets, OpenFeatures
from jobs.settings import Settings
from jobs.store import JobStore, MeasurementRow
from jobs.tables import Job
from worker.lease import Lease, Stopped

logger = structlog.get_logger()
COMMAND: TypeAdapter[AnyCommand] = TypeAdapter(AnyCommand)


@dataclass
class Surroundings:
    """What a command may ask of the world while it runs (`analysis.commands.Surroundings`)."""

    job_id: str
    run: str | None
    step: int | None
    device: str
    service_version: str
    feature_sets: FeatureSets
    jobs: JobStore
    lease: Lease

    def open_features(self, features_id: str) -> AbstractContextManager[OpenFeatures]:
        """The files of a feature set."""
        return self.feature_sets.open(features_id)

    def previous_report(self) -> Mapping[str, Any] | None:
        """The report of the step before this one, if it has ended by now."""
        if self.run is None or self.step is None:
            return None
        body = self.jobs.previous_report(self.job_id)
        return None if body is None else json.loads(body)

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Tell how far the job is; raises when it must stop."""
        self.lease.progress(phase=phase, current=current, total=total)


@dataclass(frozen=True)
class Runner:
    """Everything that running a job needs, put together by `worker.app`."""

    settings: Settings
    jobs: JobStore
    feature_sets: FeatureSets
    device: str
    service_version: str
    stopping: threading.Event
    """Set when the worker is being stopped: the running job goes back to the queue at its next look."""

    def run_job(self, job_id: str) -> None:
        """Claim the job, run its command, write its end. Harmless if somebody else has it or it has ended."""
        job = self.jobs.claim(job_id, lease_seconds=self.settings.lease_seconds)
        if job is None or job.lease_token is None:
            logger.info("job not there to take", job_id=job_id)
            return
        with structlog.contextvars.bound_contextvars(job_id=job.id, kind=job.kind, attempt=job.attempts):
            logger.info("job started")
            with Lease(self.jobs, self.settings, job_id=job.id, token=job.lease_token, stopping=self.stopping) as lease:
                self._run_claimed(job, lease)

    def _run_claimed(self, job: Job, lease: Lease) -> None:
        try:
            with failures_as_data():
                report = COMMAND.validate_python(job.parameters).run(self._surroundings(job, lease))
                body = report.model_dump_json()
            lease.succeed(
                body=body, etag=hashlib.sha256(body.encode()).hexdigest(), measurements=measurement_rows(report)
            )
            logger.info("job succeeded")
        except Stopped as stopped:
            logger.info("job stopped", reason=stopped.reason)
            lease.stop(stopped)
        except JobFailure as failure:
            logger.warning("job failed", code=failure.code, detail=failure.detail, exc_info=failure.unexpected)
            lease.fail(code=failure.code, detail=failure.detail)

    def _surroundings(self, job: Job, lease: Lease) -> Surroundings:
        return Surroundings(
            job_id=job.id,
            run=job.run,
            step=job.step,
            device=self.device,
            service_version=self.service_version,
            feature_sets=self.feature_sets,
            jobs=self.jobs,
            lease=lease,
        )


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
