"""Every statement of the worker that owns a job: from the claim to the end, under the token of its lease."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, true, update
from sqlalchemy.orm import Session

from jobs.store.blobs import let_go
from jobs.store.database import Database
from jobs.store.families import child_started, children_ended, children_moved, waiting
from jobs.store.quotas import may_run
from jobs.store.records import ArtifactFile, MeasurementRow, NewJob, Standing
from jobs.store.rows import BACK_IN_THE_QUEUE, FREED, row_of
from jobs.tables import (
    CANCELLED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Artifact,
    Job,
    Measurement,
    StoredReport,
)


class LeaseStore:
    """The jobs table, as those see it who run jobs."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, job_id: str, *, lease_seconds: float, memory_bytes: int | None = None) -> Job | None:
        """Take a queued job: one statement, one winner; None if it is not there to take, or needs more memory.

        None, too, while as many jobs of its owner run as may: then it is kept back until one of them has ended.
        """
        now = self.database.now()
        statement = (
            update(Job)
            .where(Job.id == job_id, Job.status == QUEUED, Job.pending_children == 0)
            .where(true() if memory_bytes is None else Job.memory_bytes <= memory_bytes)
            .values(
                status=RUNNING,
                attempts=Job.attempts + 1,
                lease_token=secrets.token_hex(16),
                lease_expires_at=now + timedelta(seconds=lease_seconds),
                progress_at=now,
                # Of a parent they tell of its children, until its own command tells more.
                started_at=func.coalesce(Job.started_at, now),
                phase=func.coalesce(Job.phase, "starting"),
                current=func.coalesce(Job.current, 0),
                version=Job.version + 1,
            )
            .returning(Job)
        )
        with self.database.write() as session:
            if not may_run(session, job_id, now):
                # Without a message it is where the next one of this owner is looked for.
                session.execute(update(Job).where(Job.id == job_id, Job.status == QUEUED).values(queued_at=None))
                return None
            job = session.scalar(statement)
            if job is not None:
                child_started(session, job.parent_id, now)
        return job

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

    def succeed(
        self,
        job_id: str,
        token: str,
        *,
        body: str,
        etag: str,
        measurements: Sequence[MeasurementRow],
        artifacts: Sequence[ArtifactFile] = (),
    ) -> bool:
        """Write the end, the report and all that belongs to it together; False if the lease is no longer ours."""
        now = self.database.now()
        with self.database.write() as session:
            job = session.scalar(_end(job_id, token, SUCCEEDED, now, current=Job.total).returning(Job))
            if job is None:
                return False
            session.add(StoredReport(job_id=job_id, body=body, etag=etag, created_at=now))
            if measurements:
                session.execute(insert(Measurement), [_measurement(job, row) for row in measurements])
            _add_artifacts(session, job_id, artifacts, now)
            children_ended(session, [job.parent_id], now)
        return True

    def wait_for_children(
        self, job_id: str, token: str, children: Sequence[NewJob], *, artifacts: Sequence[ArtifactFile] = ()
    ) -> Sequence[str] | None:
        """Give the job up until these new children have ended; their ids, or None if it is not ours or is cancelled.

        What it has kept so far stays. No attempt is burnt: it has not failed, and will be claimed again.
        """
        now = self.database.now()
        with self.database.write() as session:
            job = session.scalar(
                update(Job)
                .where(*_owned(job_id, token), Job.cancel_requested_at.is_(None))
                .values(**waiting(Job.num_children, len(children)), **FREED, attempts=Job.attempts - 1)
                .returning(Job)
            )
            if job is None:
                return None
            first = job.num_children - len(children)
            rows = [row_of(child, now, parent=job, index=first + index) for index, child in enumerate(children)]
            session.add_all(rows)
            session.flush()
            _add_artifacts(session, job_id, artifacts, now)
        return [row.id for row in rows]

    def fail(self, job_id: str, token: str, *, code: str, detail: str) -> bool:
        """End the job as failed; False if the lease is no longer ours."""
        return self._end_without_report(job_id, token, FAILED, error_code=code, error_detail=detail)

    def confirm_cancel(self, job_id: str, token: str) -> bool:
        """The owner has stopped: only now the row says cancelled."""
        return self._end_without_report(job_id, token, CANCELLED)

    def _end_without_report(self, job_id: str, token: str, status: str, **values: Any) -> bool:
        now = self.database.now()
        with self.database.write() as session:
            job = session.scalar(_end(job_id, token, status, now, **values).returning(Job))
            if job is not None:
                children_ended(session, [job.parent_id], now)
        return job is not None

    def release(self, job_id: str, token: str) -> bool:
        """Hand the job back without burning an attempt: the worker is being stopped, the job is not at fault."""
        values = {**BACK_IN_THE_QUEUE, "attempts": Job.attempts - 1}
        statement = update(Job).where(*_owned(job_id, token)).values(values).returning(Job)
        with self.database.write() as session:
            job = session.scalar(statement)
            if job is not None:
                children_moved(session, [job.parent_id])
        return job is not None


def _add_artifacts(session: Session, job_id: str, artifacts: Sequence[ArtifactFile], now: datetime) -> None:
    if artifacts:
        session.execute(insert(Artifact), [{"job_id": job_id, **vars(file)} for file in artifacts])
        let_go(session, [file.sha256 for file in artifacts], now)


def _measurement(job: Job, row: MeasurementRow) -> dict[str, Any]:
    return {"job_id": job.id, "owner": job.owner, "run": job.run, "step": job.step, **vars(row)}


def _owned(job_id: str, token: str) -> tuple[Any, ...]:
    return (Job.id == job_id, Job.status == RUNNING, Job.lease_token == token)


def _end(job_id: str, token: str, status: str, now: datetime, **values: Any) -> Any:
    return update(Job).where(*_owned(job_id, token)).values(status=status, finished_at=now, **FREED, **values)
