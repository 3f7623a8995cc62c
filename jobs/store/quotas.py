"""What owners use, and how much of it their keys allow: looked at within the transaction that uses more.

Of several keys of one owner, the tightest limit counts. The rows of the keys are locked before anything else is, so
that of two transactions that together would be too much, the second one sees the first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from analysis.commands import KINDS
from jobs.errors import QuotaExceeded
from jobs.keys import Limits
from jobs.store.database import Database
from jobs.store.keys import active
from jobs.tables import QUEUED, RUNNING, ApiKey, Features, Job

INTERNAL_KINDS = sorted(name for name, kind in KINDS.items() if kind.internal)
"""Pieces of other jobs: they are work of workers, but nobody has submitted them."""
BYTES_AGAIN_SECONDS = 3600
JOBS_AGAIN_SECONDS = 10

# A parent that waits for its children runs, too, but no worker is busy with it: it must not keep them from running.
AT_WORK = (Job.status == RUNNING, Job.lease_token.is_not(None))
LIMITED = (ApiKey.max_bytes, ApiKey.max_queued_jobs, ApiKey.max_running_jobs)


@dataclass(frozen=True)
class Bytes:
    """How many bytes the feature sets of an owner have, and may have; any number where the limit is None."""

    used: int
    limit: int | None

    def require_room(self, adding: int) -> None:
        """Raise `QuotaExceeded` if they would be more than allowed."""
        if self.limit is not None and self.used + adding > self.limit:
            raise QuotaExceeded(
                "quota_exceeded",
                f"Your feature sets have {self.used} bytes and would have {self.used + adding} or more; {self.limit} "
                "are allowed. Nothing was kept. Delete feature sets that you no longer need, send moments or fewer "
                "samples, or ask for a higher limit.",
                retry_after_seconds=BYTES_AGAIN_SECONDS,
            )


class QuotaStore:
    """What an owner may still use, for a first look before there is a transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def bytes_of(self, owner: str) -> Bytes:
        """What the feature sets of an owner take up, and may."""
        with self.database.read() as session:
            return bytes_of(session, owner, limits_of(session, owner, self.database.now()))

    def require_room_in_queue(self, owner: str) -> None:
        """Raise `QuotaExceeded` if not even one job more may be queued."""
        with self.database.read() as session:
            require_room_in_queue(session, owner, limits_of(session, owner, self.database.now()), adding=1)


def limits_of(session: Session, owner: Any, now: datetime, *, lock: bool = False) -> Limits:
    """The tightest limits of an owner's active keys; with `lock`, nobody else looks until the transaction ends."""
    query = select(*LIMITED).where(ApiKey.owner == owner, active(now), or_(*(limit.is_not(None) for limit in LIMITED)))
    if lock:
        query = query.order_by(ApiKey.id).with_for_update()
    found = session.execute(query).all()
    if not found:
        return Limits()
    max_bytes, max_queued_jobs, max_running_jobs = (_tightest(limits) for limits in zip(*found, strict=True))
    return Limits(max_bytes=max_bytes, max_queued_jobs=max_queued_jobs, max_running_jobs=max_running_jobs)


def _tightest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def bytes_of(session: Session, owner: str, limits: Limits) -> Bytes:
    """What the feature sets of an owner take up; not counted where nothing limits it."""
    if limits.max_bytes is None:
        return Bytes(0, None)
    used = select(func.coalesce(func.sum(Features.size_bytes), 0)).where(Features.owner == owner)
    return Bytes(int(session.scalar(used) or 0), limits.max_bytes)


def require_room_in_queue(session: Session, owner: str, limits: Limits, *, adding: int) -> None:
    """Raise `QuotaExceeded` if more jobs of an owner would be queued than allowed."""
    if limits.max_queued_jobs is None:
        return
    queued = session.scalar(
        select(func.count()).where(Job.owner == owner, Job.status == QUEUED, Job.kind.not_in(INTERNAL_KINDS))
    )
    if (queued or 0) + adding > limits.max_queued_jobs:
        raise QuotaExceeded(
            "quota_exceeded",
            f"{queued} of your jobs are queued and this request would make it {(queued or 0) + adding}; "
            f"{limits.max_queued_jobs} may be. Wait until some have run, cancel some, or ask for a higher limit.",
            retry_after_seconds=JOBS_AGAIN_SECONDS,
        )


def may_run(session: Session, job_id: str, now: datetime) -> bool:
    """Whether one more job of the owner of this one may run; asked within the transaction that claims it."""
    owner = select(Job.owner).where(Job.id == job_id).scalar_subquery()
    limit = limits_of(session, owner, now, lock=True).max_running_jobs
    return limit is None or (session.scalar(select(func.count()).where(Job.owner == owner, *AT_WORK)) or 0) < limit


def free_to_run(session: Session, now: datetime) -> dict[str, int]:
    """How many jobs more may run, of each owner whose keys limit it."""
    limited = (
        select(ApiKey.owner, func.min(ApiKey.max_running_jobs))
        .where(active(now), ApiKey.max_running_jobs.is_not(None))
        .group_by(ApiKey.owner)
    )
    limits = {owner: int(limit or 0) for owner, limit in session.execute(limited)}
    if not limits:
        return {}
    running = dict(
        session.execute(
            select(Job.owner, func.count()).where(Job.owner.in_(limits), *AT_WORK).group_by(Job.owner)
        ).all()
    )
    return {owner: max(0, limit - running.get(owner, 0)) for owner, limit in limits.items()}
