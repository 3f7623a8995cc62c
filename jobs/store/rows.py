"""Rows of the jobs table: a new one, and what several kinds of statements write into one."""

from datetime import datetime, timedelta
from typing import Any

from jobs.store.families import PHASE
from jobs.store.records import NewJob
from jobs.tables import QUEUED, Job, new_id

FREED: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "version": Job.version + 1}
"""What every end of an ownership writes."""

BACK_IN_THE_QUEUE: dict[str, Any] = {
    "status": QUEUED,
    **dict.fromkeys(("started_at", "phase", "current", "total", "progress_at")),
    "queued_at": None,  # no message is under way: the sweep sends one
    **FREED,
}
"""What a running job becomes that nobody owns any more."""


def row_of(new: NewJob, now: datetime, *, parent: Job | None = None, index: int | None = None) -> Job:
    """The row of a job that is made now; of a child with its place in the family."""
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
