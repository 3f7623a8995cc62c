"""The statements of the sweep: what is queued without a message, running without a heartbeat, or expired."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from jobs.store.database import Database
from jobs.store.families import children_ended, children_moved
from jobs.store.jobs import to_send
from jobs.store.quotas import free_to_run
from jobs.store.rows import BACK_IN_THE_QUEUE, FREED
from jobs.tables import CANCELLED, FAILED, QUEUED, RUNNING, Job

WORKER_LOST = (
    "The worker process ended without a word each time this job ran ({attempts} attempts): most often it ran out of "
    "memory. Send fewer samples, layers or dimensions per job, or give the workers more memory."
)


@dataclass(frozen=True)
class Expired:
    """The jobs whose lease had run out, by what became of them."""

    requeued: Sequence[str]
    failed: Sequence[str]
    cancelled: Sequence[str]


class RepairStore:
    """Idempotent statements: any number of sweeps may run them at once."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def expire_leases(self, *, max_attempts: int) -> Expired:
        """End or requeue every running job whose owner has not renewed its lease."""
        now = self.database.now()
        with self.database.write() as session:
            # In one order, and those not whose owners are just writing: no two transactions wait for each other.
            lost = session.scalars(
                select(Job.id)
                .where(Job.status == RUNNING, Job.lease_expires_at < now)
                .order_by(Job.id)
                .with_for_update(skip_locked=True)
            ).all()
            overdue = (Job.id.in_(lost), Job.status == RUNNING)
            statements = (
                _cancel(overdue, now),
                _fail(overdue, now, max_attempts),
                update(Job).where(*overdue).values(**BACK_IN_THE_QUEUE),
            )
            cancelled, failed, requeued = (
                session.execute(statement.returning(Job.id, Job.parent_id)).all() for statement in statements
            )
            children_moved(session, [row.parent_id for row in requeued])
            children_ended(session, [row.parent_id for row in (*cancelled, *failed)], now)
        return Expired(*([row.id for row in rows] for rows in (requeued, failed, cancelled)))

    def perhaps_unsent(self, *, older_than_seconds: float, limit: int = 1000) -> dict[str, str]:
        """Queued jobs with their queues, the oldest first, whose message was not sent, or may be lost since.

        Of an owner whose running jobs are limited, as many as may run yet: what is kept back keeps nobody else back.
        """
        now = self.database.now()
        unsent = or_(Job.queued_at.is_(None), Job.queued_at < now - timedelta(seconds=older_than_seconds))
        with self.database.read() as session:
            free = free_to_run(session, now)
            groups = [(Job.owner.not_in(list(free)), limit), *((Job.owner == owner, free[owner]) for owner in free)]
            queries = [to_send(whose, unsent).limit(most) for whose, most in groups if most]
            return {job_id: queue for query in queries for job_id, queue in session.execute(query)}

    def reroute(self, queue: str, to: str) -> int:
        """Send the jobs that wait in a queue which nobody serves to another one; how many."""
        moved = update(Job).where(Job.status == QUEUED, Job.queue == queue).values(queue=to, queued_at=None)
        with self.database.write() as session:
            return len(session.execute(moved.returning(Job.id)).all())

    def mark_sent(self, job_ids: Collection[str]) -> None:
        """A message for each of these is in the broker now."""
        if job_ids:
            with self.database.write() as session:
                session.execute(update(Job).where(Job.id.in_(job_ids)).values(queued_at=self.database.now()))

    def mark_unsent(self, job_ids: Sequence[str]) -> None:
        """The broker did not take their messages: the next sweep sends them."""
        with self.database.write() as session:
            session.execute(update(Job).where(Job.id.in_(job_ids), Job.status == QUEUED).values(queued_at=None))


def _cancel(overdue: tuple[Any, ...], now: datetime) -> Any:
    return (
        update(Job)
        .where(*overdue, Job.cancel_requested_at.is_not(None))
        .values(status=CANCELLED, finished_at=now, **FREED)
    )


def _fail(overdue: tuple[Any, ...], now: datetime, max_attempts: int) -> Any:
    return (
        update(Job)
        .where(*overdue, Job.attempts >= max_attempts)
        .values(
            status=FAILED,
            finished_at=now,
            error_code="worker_lost",
            error_detail=WORKER_LOST.format(attempts=max_attempts),
            **FREED,
        )
    )
