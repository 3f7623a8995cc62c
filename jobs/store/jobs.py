"""Every statement on jobs that a client or the worker that owns one needs; repairs are in `repair.py`.

A job goes queued → running → succeeded | failed | cancelled. Ended states are never overwritten, and a running
job is written only by the holder of its lease token.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound
from jobs.store.blobs import let_go
from jobs.store.database import Database
from jobs.store.families import PHASE, cancel_children, child_started, children_ended, children_moved, waiting
from jobs.store.quotas import INTERNAL_KINDS, free_to_run, limits_of, may_run, require_room_in_queue
from jobs.store.records import ArtifactFile, Filter, MeasurementRow, NewJob, Standing
from jobs.tables import (
    CANCELLED,
    ENDED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Artifact,
    Features,
    Job,
    JobTag,
    Measurement,
    StoredReport,
    new_id,
)

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
        """Commit a queued job with its children; (job, True), or (the job that the same key made before, False)."""
        if new.idempotency_key and (earlier := self._replayed(new)):
            return earlier, False
        now = self.database.now()
        job = _row(new, now)
        children = [_row(child, now, parent=job, index=index) for index, child in enumerate(new.children)]
        needed = sorted({row.features_id for row in (job, *children) if row.features_id})
        try:
            with self.database.write() as session:
                limits = limits_of(session, job.owner, now, lock=True)
                require_room_in_queue(session, job.owner, limits, adding=1 + len(children))
                for features_id in needed:
                    require_ready(session, features_id, job.owner)
                session.add(job)
                session.flush()
                session.add_all(children)
                session.flush()
                tags = dict.fromkeys(new.tags)
                session.add_all(JobTag(job_id=row.id, tag=tag) for row in (job, *children) for tag in tags)
        except IntegrityError:
            if new.idempotency_key and (earlier := self._replayed(new)):
                return earlier, False
            if needed:  # deleted between our look and our insert
                raise features_not_found(needed[0]) from None
            raise
        return job, True

    def _replayed(self, new: NewJob) -> Job | None:
        with self.database.read() as session:
            earlier = session.scalar(
                select(Job).where(Job.owner == new.owner, Job.idempotency_key == new.idempotency_key)
            )
        if earlier and earlier.idempotency_fingerprint != new.idempotency_fingerprint:
            raise IdempotencyKeyReused(
                "idempotency_key_reused",
                f"This Idempotency-Key came before with another request, which made job {earlier.id}. "
                "Use a new key for a new request.",
            )
        return earlier

    def get(self, job_id: str, *, owner: str | None = None) -> Job:
        """The job as it stands; `NotFound` if there is none, or if it is not this owner's where one is named."""
        query = select(Job).where(Job.id == job_id)
        with self.database.read() as session:
            job = session.scalar(query if owner is None else query.where(Job.owner == owner))
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
        query = select(Job).where(Job.owner == where.owner)
        query = query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
        if where.parent is None and where.kind is None:
            query = query.where(Job.kind.not_in(INTERNAL_KINDS))
        asked = {Job.status: where.status, Job.kind: where.kind, Job.run: where.run, Job.parent_id: where.parent}
        for column, value in asked.items():
            if value is not None:
                query = query.where(column == value)
        if where.tag is not None:
            query = query.where(exists().where(JobTag.job_id == Job.id, JobTag.tag == where.tag))
        if where.query is not None:
            query = query.where(_matches(where.query))
        if where.after is not None:
            created_at, job_id = where.after
            query = query.where(or_(Job.created_at < created_at, and_(Job.created_at == created_at, Job.id < job_id)))
        with self.database.read() as session:
            return list(session.scalars(query))

    def children(self, parent_id: str) -> Sequence[Job]:
        """The children of a job, in their order."""
        query = select(Job).where(Job.parent_id == parent_id).order_by(Job.child_index)
        with self.database.read() as session:
            return session.scalars(query).all()

    def children_by_status(self, parent_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many children each of these jobs has in each state; what is zero is left out."""
        query = (
            select(Job.parent_id, Job.status, func.count())
            .where(Job.parent_id.in_(parent_ids))
            .group_by(Job.parent_id, Job.status)
        )
        counts: dict[str, dict[str, int]] = {parent_id: {} for parent_id in parent_ids}
        with self.database.read() as session:
            for parent_id, status, number in session.execute(query):
                counts[str(parent_id)][status] = number
        return counts

    def report(self, job_id: str) -> StoredReport:
        """The report of a succeeded job; `Conflict` while there is none."""
        with self.database.read() as session:
            report = session.get(StoredReport, job_id)
        if report is not None:
            return report
        job = self.get(job_id)
        if job.status in (FAILED, CANCELLED):
            raise NotFound("report_not_found", f"Job {job_id} {job.status} and has no report; its view says why.")
        raise not_finished(job)

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """What an ended job left beside its report, by name; `Conflict` before its end."""
        query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)
        with self.database.read() as session:
            found = session.scalars(query).all()
        if not found and (job := self.get(job_id)).status not in ENDED:
            raise not_finished(job)
        return found

    def artifact(self, job_id: str, name: str) -> Artifact | None:
        """One file that a job, ended or not, has left."""
        with self.database.read() as session:
            return session.get(Artifact, (job_id, name))

    def previous_report(self, job_id: str) -> str | None:
        """The report, as JSON, of the greatest step before this job's of its owner, run, kind; the newest of equal."""
        this, other = aliased(Job), aliased(Job)
        query = (
            select(StoredReport.body)
            .join(other, other.id == StoredReport.job_id)
            .join(
                this,
                and_(
                    this.owner == other.owner,
                    this.run == other.run,
                    this.kind == other.kind,
                    this.step > other.step,
                ),
            )
            .where(this.id == job_id)
            .order_by(other.step.desc(), other.created_at.desc(), other.id.desc())
            .limit(1)
        )
        with self.database.read() as session:
            return session.scalar(query)

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once; ask the owner of a running one to stop; of a parent, all its children so."""
        now = self.database.now()
        with self.database.write() as session:
            cancelled_children = cancel_children(session, job_id, now)
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise job_not_found(job_id)
            if job.status in ENDED:
                raise Conflict("job_already_finished", f"Job {job_id} has {job.status} already; nothing was cancelled.")
            job.cancel_requested_at = job.cancel_requested_at or now
            job.version += 1
            if job.status == QUEUED and not job.pending_children:
                job.status, job.finished_at = CANCELLED, now
                children_ended(session, [job.parent_id], now)
            children_ended(session, [job_id] * cancelled_children, now)
            session.flush()
            session.refresh(job)
        return job

    def delete(self, job_id: str) -> Sequence[str]:
        """Remove an ended job with all that hangs on it, its children too; the digests that it referred to."""
        with self.database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise job_not_found(job_id)
            if job.status not in ENDED:
                raise Conflict("job_not_finished", f"Job {job_id} is {job.status}. Cancel it first, then delete it.")
            parent = session.get(Job, job.parent_id) if job.parent_id else None
            if parent is not None and parent.status not in ENDED:
                raise Conflict(
                    "parent_not_finished",
                    f"Job {parent.id}, the parent of this one, is {parent.status} and needs its children. Wait for its "
                    "end or cancel it; deleting it deletes its children.",
                )
            theirs = select(Job.id).where(or_(Job.id == job_id, Job.parent_id == job_id))
            digests = session.scalars(select(Artifact.sha256).where(Artifact.job_id.in_(theirs))).all()
            session.execute(delete(Job).where(Job.id == job_id))
        return digests

    def expired(self, *, limit: int = 1000) -> Sequence[str]:
        """Jobs past their time that have ended with all their children, the oldest first."""
        child = aliased(Job)
        query = (
            select(Job.id)
            .where(Job.expires_at < self.database.now(), Job.status.in_(ENDED))
            .where(~exists().where(child.parent_id == Job.id, child.status.not_in(ENDED)))
            .order_by(Job.expires_at)
            .limit(limit)
        )
        with self.database.read() as session:
            return session.scalars(query).all()

    # -- the worker that owns the job ------------------------------------------------------------------------------

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
            if artifacts:
                session.execute(insert(Artifact), [{"job_id": job_id, **vars(file)} for file in artifacts])
                let_go(session, [file.sha256 for file in artifacts], now)
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
            rows = [_row(child, now, parent=job, index=first + index) for index, child in enumerate(children)]
            session.add_all(rows)
            session.flush()
            if artifacts:
                session.execute(insert(Artifact), [{"job_id": job_id, **vars(file)} for file in artifacts])
                let_go(session, [file.sha256 for file in artifacts], now)
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

    def next_of(self, owner: str) -> dict[str, str]:
        """The jobs, with their queues, that were kept back because too many of their owner's ran, and need not be now.

        Nothing of an owner whose running jobs are not limited.
        """
        with self.database.read() as session:
            most = free_to_run(session, self.database.now()).get(owner, 0)
            query = to_send(Job.owner == owner, Job.queued_at.is_(None)).limit(most)
            return dict(session.execute(query).all()) if most else {}


def to_send(*where: Any) -> Any:
    """Queued jobs that somebody can claim, and their queues, the oldest first."""
    query = select(Job.id, Job.queue).where(Job.status == QUEUED, Job.pending_children == 0, *where)
    return query.order_by(Job.created_at)


def _row(new: NewJob, now: datetime, *, parent: Job | None = None, index: int | None = None) -> Job:
    return Job(
        id=new_id("job"),
        owner=parent.owner if parent else new.owner,
        kind=new.kind,
        status=QUEUED,
        parameters=dict(new.parameters),
        queue=new.queue,
        memory_bytes=new.memory_bytes,
        request_id=new.trail.request_id,
        traceparent=new.trail.traceparent,
        features_id=new.features_id,
        run=new.run,
        step=new.step,
        tags=list(new.tags),
        version=1,
        phase=PHASE if new.children else None,
        current=0 if new.children else None,
        total=len(new.children) or None,
        attempts=0,
        expires_at=None if new.expires_in_seconds is None else now + timedelta(seconds=new.expires_in_seconds),
        created_at=now,
        queued_at=now,
        idempotency_key=new.idempotency_key,
        idempotency_fingerprint=new.idempotency_fingerprint,
        parent_id=parent.id if parent else None,
        child_index=index,
        num_children=len(new.children),
        pending_children=len(new.children),
    )


def _matches(words: str) -> Any:
    return or_(
        Job.run.icontains(words, autoescape=True),
        Job.id.startswith(words, autoescape=True),
        exists().where(JobTag.job_id == Job.id, JobTag.tag.icontains(words, autoescape=True)),
    )


def _measurement(job: Job, row: MeasurementRow) -> dict[str, Any]:
    return {"job_id": job.id, "owner": job.owner, "run": job.run, "step": job.step, **vars(row)}


def _owned(job_id: str, token: str) -> tuple[Any, ...]:
    return (Job.id == job_id, Job.status == RUNNING, Job.lease_token == token)


def _end(job_id: str, token: str, status: str, now: datetime, **values: Any) -> Any:
    return update(Job).where(*_owned(job_id, token)).values(status=status, finished_at=now, **FREED, **values)


def job_not_found(job_id: str) -> NotFound:
    """The same words wherever a job is looked for."""
    return NotFound("job_not_found", f"There is no job {job_id!r}. GET /v1/jobs lists the jobs there are.")


def not_finished(job: Job) -> Conflict:
    """The same words wherever something is asked for that comes with the end of a job."""
    return Conflict("job_not_finished", f"Job {job.id} is {job.status}. Ask again when it has ended.")


def features_not_found(features_id: str) -> NotFound:
    """The same words wherever a feature set is looked for."""
    return NotFound(
        "features_not_found",
        f"There is no feature set {features_id!r}: it was never uploaded, or it was deleted or expired.",
    )


def require_ready(session: Session, features_id: str, owner: str) -> None:
    """Raise unless the feature set exists, is its owner's and is complete."""
    status = session.scalar(select(Features.status).where(Features.id == features_id, Features.owner == owner))
    if status is None:
        raise features_not_found(features_id)
    if status != "ready":
        raise Conflict(
            "features_not_ready",
            f"Feature set {features_id} is still open. POST /v1/features/{features_id}/complete first.",
        )
