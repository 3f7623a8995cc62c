"""What becomes of a parent when something happens to its children, in the transaction in which it happens.

A parent is queued until its first child is claimed; then it is running, owned by nobody. So is a job that has found
only when it ran that it needs children. The end of the last child
puts it back into the queue, where a worker claims it like any other job; or ends it, if its cancel was asked for.

Every change of a parent is one UPDATE that counts in the database, so that children may end at the same moment. Rows
are locked in one order, children by id, then parents by id: no two transactions wait for each other.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from jobs.tables import CANCELLED, ENDED, QUEUED, RUNNING, Job

PHASE = "children"
"""The phase in a parent's progress while it waits."""


def cancel_children(session: Session, parent_id: str, now: datetime) -> int:
    """End the queued children, ask the owners of the others to stop; how many were ended."""
    query = (
        select(Job.id, Job.status)
        .where(Job.parent_id == parent_id, Job.status.not_in(ENDED))
        .order_by(Job.id)
        .with_for_update()
    )
    unfinished = [(job_id, status) for job_id, status in session.execute(query)]
    queued = [job_id for job_id, status in unfinished if status == QUEUED]
    asked = {"cancel_requested_at": func.coalesce(Job.cancel_requested_at, now), "version": Job.version + 1}
    session.execute(update(Job).where(Job.id.in_([job_id for job_id, _ in unfinished])).values(asked))
    session.execute(update(Job).where(Job.id.in_(queued)).values(status=CANCELLED, finished_at=now))
    return len(queued)


def waiting(ended: Any, number: int) -> dict[Any, Any]:
    """The columns of a running job that gets so many children, besides those that have ended: nobody owns it then."""
    return {
        "num_children": ended + number,
        "pending_children": number,
        "phase": PHASE,
        "current": ended,
        "total": ended + number,
    }


def child_started(session: Session, parent_id: str | None, now: datetime) -> None:
    """The parent runs as soon as one of its children does."""
    if parent_id is not None:
        started = {"status": RUNNING, "started_at": func.coalesce(Job.started_at, now), "progress_at": now}
        session.execute(update(Job).where(Job.id == parent_id).values(version=Job.version + 1, **started))


def children_moved(session: Session, parent_ids: Iterable[str | None]) -> None:
    """Children went back into the queue: the view of their parents is another one, nothing else."""
    for parent_id in _distinct(parent_ids):
        session.execute(update(Job).where(Job.id == parent_id).values(version=Job.version + 1))


def children_ended(session: Session, parent_ids: Iterable[str | None], now: datetime) -> None:
    """One entry for each child that has ended: the id of its parent, None if it has none."""
    ended = list(parent_ids)
    for parent_id in _distinct(ended):
        session.execute(update(Job).where(Job.id == parent_id).values(_after(ended.count(parent_id), now)))


def _after(ended: int, now: datetime) -> dict[Any, Any]:
    """The columns of a parent of which so many more children have ended."""
    pending = Job.pending_children - ended
    cancelled = Job.cancel_requested_at.is_not(None)
    return {
        "pending_children": pending,
        "current": Job.num_children - pending,
        "progress_at": now,
        "version": Job.version + 1,
        "status": case((pending > 0, Job.status), (cancelled, CANCELLED), else_=QUEUED),
        "queued_at": None,  # no message is under way: whoever ended the last child sends one, or the sweep
        "finished_at": case(((pending == 0) & cancelled, now), else_=None),
    }


def _distinct(parent_ids: Iterable[str | None]) -> list[str]:
    return sorted({parent_id for parent_id in parent_ids if parent_id is not None})
