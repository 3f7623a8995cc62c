"""Every statement on jobs that a client or the worker that owns one needs; repairs are in `repair.py`.

A job goes queued → running → succeeded | failed | cancelled. Ended states are never overwritten, and a running
job is written only by the holder of its lease token.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound
from jobs.store.database import Database
from jobs.tables import (
    CANCELLED,
    ENDED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Features,
    Job,
    JobTag,
    Measurement,
    StoredReport,
    new_id,
)


@dataclass(frozen=True)
class NewJob:
    """What a job is made of. `features_id` is the feature set that the command reads, if any."""

    kind: str
    parameters: Mapping[str, Any]
    features_id: str | None = None
    run: str | None = None
    step: int | None = None
    tags: Sequence[str] = ()
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None


@dataclass(frozen=True)
class Filter:
    """Which jobs to list; `after` is the (created_at, id) of the last one seen."""

    status: str | None = None
    kind: str | None = None
    run: str | None = None
    tag: str | None = None
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True)
class MeasurementRow:
    """One number of a report."""

    layer: str
    layer_index: int
    metric: str
    value: float | None


@dataclass(frozen=True)
class Standing:
    """What the owner of a lease learns when it renews it."""

    lease_held: bool
    cancel_requested_at: datetime | None = None


FREED: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "version": Job.version + 1}
"""What every end of an ownership writes."""

BACK_IN_THE_QUEUE: dict[str, Any] = {
    "status": QUEUED,
    **dict.fromkeys(("started_at", "phase", "current", "total", "progress_at")),
    "queued_at": None,  # no message is under way: the sweep sends one
    **FREED,
}
"""What a running job becomes that nobody owns any more."""


class JobStore:
    """The jobs table and what hangs on it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # -- clients ---------------------------------------------------------------------------------------------------

    def create(self, new: NewJob) -> tuple[Job, bool]:
        """Commit a queued job; (job, True), or (the job that the same idempotency key made before, False)."""
        if new.idempotency_key and (earlier := self._replayed(new)):
            return earlier, False
        now = self.database.now()
        job = Job(
            id=new_id("job"),
            kind=new.kind,
            status=QUEUED,
            parameters=dict(new.parameters),
            features_id=new.features_id,
            run=new.run,
            step=new.step,
            tags=list(new.tags),
            version=1,
            attempts=0,
            created_at=now,
            queued_at=now,
            idempotency_key=new.idempotency_key,
            idempotency_fingerprint=new.idempotency_fingerprint,
        )
        try:
            with self.database.write() as session:
                if new.features_id:
                    require_ready(session, new.features_id)
                session.add(job)
                session.flush()
                session.add_all(JobTag(job_id=job.id, tag=tag) for tag in dict.fromkeys(new.tags))
        except IntegrityError:
            if new.idempotency_key and (earlier := self._replayed(new)):  # the same request raced us
                return earlier, False
            if new.features_id:  # deleted between our look and our insert
                raise features_not_found(new.features_id) from None
            raise
        return job, True

    def _replayed(self, new: NewJob) -> Job | None:
        with self.database.read() as session:
            earlier = session.scalar(select(Job).where(Job.idempotency_key == new.idempotency_key))
        if earlier and earlier.idempotency_fingerprint != new.idempotency_fingerprint:
            raise IdempotencyKeyReused(
                "idempotency_key_reused",
                f"This Idempotency-Key came before with another request, which made job {earlier.id}. "
                "Use a new key for a new request.",
            )
        return earlier

    def get(self, job_id: str) -> Job:
        """The job as it stands; `NotFound` if there is none."""
        with self.database.read() as session:
            job = session.get(Job, job_id)
        if job is None:
            raise job_not_found(job_id)
        return job

    def versions(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The row version of each of these jobs that exists."""
        with self.database.read() as session:
            rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(job_ids)))
            return dict(rows.all())

    def list(self, where: Filter, *, limit: int) -> list[Job]:
        """Newest first."""
        query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
        for column, value in ((Job.status, where.status), (Job.kind, where.kind), (Job.run, where.run)):
            if value is not None:
                query = query.where(column == value)
        if where.tag is not None:
            query = query.where(exists().where(JobTag.job_id == Job.id, JobTag.tag == where.tag))
        if where.after is not None:
            created_at, job_id = where.after
            query = query.where(or_(Job.created_at < created_at, and_(Job.created_at == created_at, Job.id < job_id)))
        with self.database.read() as session:
            return list(session.scalars(query))

    def report(self, job_id: str) -> StoredReport:
        """The report of a succeeded job; `Conflict` while there is none."""
        with self.database.read() as session:
            report = session.get(StoredReport, job_id)
        if report is not None:
            return report
        job = self.get(job_id)
        if job.status in (FAILED, CANCELLED):
            raise NotFound("report_not_found", f"Job {job_id} {job.status} and has no report; its view says why.")
        raise Conflict("job_not_finished", f"Job {job_id} is {job.status}. Ask again when it has ended.")

    def previous_report(self, job_id: str) -> str | None:
        """The report, as JSON, of the greatest step before this job's of its run and kind; the newest of equal."""
        this, other = aliased(Job), aliased(Job)
        query = (
            select(StoredReport.body)
            .join(other, other.id == StoredReport.job_id)
            .join(this, and_(this.run == other.run, this.kind == other.kind, this.step > other.step))
            .where(this.id == job_id)
            .order_by(other.step.desc(), other.created_at.desc(), other.id.desc())
            .limit(1)
        )
        with self.database.read() as session:
            return session.scalar(query)

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once; ask the owner of a running one to stop."""
        now = self.database.now()
        with self.database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise job_not_found(job_id)
            if job.status in ENDED:
                raise Conflict("job_already_finished", f"Job {job_id} has {job.status} already; nothing was cancelled.")
            job.cancel_requested_at = job.cancel_requested_at or now
            job.version += 1
            if job.status == QUEUED:
                job.status, job.finished_at = CANCELLED, now
        return job

    def delete(self, job_id: str) -> None:
        """Remove an ended job with its report and measurements."""
        with self.database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise job_not_found(job_id)
            if job.status not in ENDED:
                raise Conflict("job_not_finished", f"Job {job_id} is {job.status}. Cancel it first, then delete it.")
            session.execute(delete(Job).where(Job.id == job_id))

    # -- the worker that owns the job ------------------------------------------------------------------------------

    def claim(self, job_id: str, *, lease_seconds: float) -> Job | None:
        """Take a queued job: one statement, one winner; None if it is not there to take."""
        now = self.database.now()
        statement = (
            update(Job)
            .where(Job.id == job_id, Job.status == QUEUED)
            .values(
                status=RUNNING,
                attempts=Job.attempts + 1,
                lease_token=secrets.token_hex(16),
                lease_expires_at=now + timedelta(seconds=lease_seconds),
                started_at=now,
                progress_at=now,
                phase="starting",
                current=0,
                total=None,
                version=Job.version + 1,
            )
            .returning(Job)
        )
        with self.database.write() as session:
            return session.scalar(statement)

    def renew(self, job_id: str, token: str, *, lease_seconds: float) -> Standing:
        """Prolong the lease; tells whether it is still held and whether a cancel was asked for."""
        lease_expires_at = self.database.now() + timedelta(seconds=lease_seconds)
        return self._as_owner(job_id, token, lease_expires_at=lease_expires_at)

    def progress(self, job_id: str, token: str, *, phase: str, current: int, total: int | None) -> Standing:
        """Write how far the job is, in one statement that also tells what `renew` tells."""
        return self._as_owner(
            job_id,
            token,
            phase=phase,
            current=current,
            total=total,
            progress_at=self.database.now(),
            version=Job.version + 1,
        )

    def _as_owner(self, job_id: str, token: str, **values: Any) -> Standing:
        statement = update(Job).where(*_owned(job_id, token)).values(**values).returning(Job.cancel_requested_at)
        with self.database.write() as session:
            row = session.execute(statement).one_or_none()
        return Standing(lease_held=row is not None, cancel_requested_at=row[0] if row else None)

    def succeed(self, job_id: str, token: str, *, body: str, etag: str, measurements: Sequence[MeasurementRow]) -> bool:
        """Write the end, the report and its measurements together; False if the lease is no longer ours."""
        with self.database.write() as session:
            job = session.scalar(_end(job_id, token, SUCCEEDED, self.database.now(), current=Job.total).returning(Job))
            if job is None:
                return False
            session.add(StoredReport(job_id=job_id, body=body, etag=etag, created_at=self.database.now()))
            rows = [
                {
                    "job_id": job_id,
                    "run": job.run,
                    "step": job.step,
                    "layer": row.layer,
                    "layer_index": row.layer_index,
                    "metric": row.metric,
                    "value": row.value,
                }
                for row in measurements
            ]
            if rows:
                session.execute(insert(Measurement), rows)
        return True

    def fail(self, job_id: str, token: str, *, code: str, detail: str) -> bool:
        """End the job as failed; False if the lease is no longer ours."""
        return self._finish(_end(job_id, token, FAILED, self.database.now(), error_code=code, error_detail=detail))

    def confirm_cancel(self, job_id: str, token: str) -> bool:
        """The owner has stopped: only now the row says cancelled."""
        return self._finish(_end(job_id, token, CANCELLED, self.database.now()))

    def release(self, job_id: str, token: str) -> bool:
        """Hand the job back without burning an attempt: the worker is being stopped, the job is not at fault."""
        return self._finish(
            update(Job).where(*_owned(job_id, token)).values(attempts=Job.attempts - 1, **BACK_IN_THE_QUEUE)
        )

    def _finish(self, statement: Any) -> bool:
        with self.database.write() as session:
            return session.execute(statement.returning(Job.id)).first() is not None


def _owned(job_id: str, token: str) -> tuple[Any, ...]:
    return (Job.id == job_id, Job.status == RUNNING, Job.lease_token == token)


def _end(job_id: str, token: str, status: str, now: datetime, **values: Any) -> Any:
    return update(Job).where(*_owned(job_id, token)).values(status=status, finished_at=now, **FREED, **values)


def job_not_found(job_id: str) -> NotFound:
    """The same words wherever a job is looked for."""
    return NotFound("job_not_found", f"There is no job {job_id!r}. GET /v1/jobs lists the jobs there are.")


def features_not_found(features_id: str) -> NotFound:
    """The same words wherever a feature set is looked for."""
    return NotFound(
        "features_not_found",
        f"There is no feature set {features_id!r}: it was never uploaded, or it was deleted or expired.",
    )


def require_ready(session: Session, features_id: str) -> None:
    """Raise unless the feature set exists and is complete."""
    status = session.scalar(select(Features.status).where(Features.id == features_id))
    if status is None:
        raise features_not_found(features_id)
    if status != "ready":
        raise Conflict(
            "features_not_ready",
            f"Feature set {features_id} is still open. POST /v1/features/{features_id}/complete first.",
        )
