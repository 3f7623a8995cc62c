"""Every statement on jobs that a client needs; those of a job's worker are in `leases.py`, repairs in `repair.py`.

A job goes queued → running → succeeded | failed | cancelled. Ended states are never overwritten, and a running
job is written only by the holder of its lease token.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound
from jobs.store.families import cancel_children, children_ended
from jobs.store.leases import LeaseStore
from jobs.store.quotas import INTERNAL_KINDS, free_to_run, limits_of, require_room_in_queue
from jobs.store.records import Filter, NewJob
from jobs.store.rows import row_of
from jobs.tables import (
    CANCELLED,
    ENDED,
    FAILED,
    QUEUED,
    Artifact,
    Features,
    Job,
    JobTag,
    StoredReport,
)


class JobStore(LeaseStore):
    """The jobs table and what hangs on it."""

    def create(self, new: NewJob) -> tuple[Job, bool]:
        """Commit a queued job with its children; (job, True), or (the job that the same key made before, False)."""
        key, fingerprint = new.idempotency_key, new.idempotency_fingerprint
        if key and (earlier := self.made_with(key, fingerprint, owner=new.owner)):
            return earlier, False
        now = self.database.now()
        job = row_of(new, now)
        children = [row_of(child, now, parent=job, index=index) for index, child in enumerate(new.children)]
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
            if key and (earlier := self.made_with(key, fingerprint, owner=new.owner)):
                return earlier, False
            if needed:  # deleted between our look and our insert
                raise features_not_found(needed[0]) from None
            raise
        return job, True

    def made_with(self, idempotency_key: str, fingerprint: str | None, *, owner: str) -> Job | None:
        """The job that an earlier request with this key has made, if any; refused if that asked for something else."""
        with self.database.read() as session:
            earlier = session.scalar(select(Job).where(Job.owner == owner, Job.idempotency_key == idempotency_key))
        if earlier and earlier.idempotency_fingerprint != fingerprint:
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


def _matches(words: str) -> Any:
    return or_(
        Job.run.icontains(words, autoescape=True),
        Job.id.startswith(words, autoescape=True),
        exists().where(JobTag.job_id == Job.id, JobTag.tag.icontains(words, autoescape=True)),
    )


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
