"""What must hold between rows, whatever happened: questions of `collapse doctor`, and the statements that mend."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, case, delete, func, or_, select, text, update
from sqlalchemy.orm import aliased

from jobs.store.database import Database
from jobs.tables import CANCELLED, ENDED, QUEUED, RUNNING, Artifact, FeaturesPart, Job


class Reference(NamedTuple):
    """A row that refers to a blob: an artifact of a job, or a part of a feature set."""

    sha256: str
    size_bytes: int
    owner_id: str
    place: str


class WrongCount(NamedTuple):
    """A parent that waits for another number of children than have not ended."""

    job_id: str
    counted: int
    unfinished: int


class CheckupStore:
    """Statements that no running service needs."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def parts(self) -> Sequence[Reference]:
        """Every part of every feature set, with the id of the set."""
        columns = (FeaturesPart.sha256, FeaturesPart.size_bytes, FeaturesPart.features_id, FeaturesPart.index)
        with self.database.read() as session:
            return [Reference(*row[:3], f"part {row[3]}") for row in session.execute(select(*columns))]

    def artifacts(self) -> Sequence[Reference]:
        """Every artifact, with the id of its job."""
        columns = (Artifact.sha256, Artifact.size_bytes, Artifact.job_id, Artifact.name)
        with self.database.read() as session:
            return [Reference(*row) for row in session.execute(select(*columns))]

    def delete_artifact(self, job_id: str, name: str) -> None:
        """The job no longer has this file; its report stays."""
        with self.database.write() as session:
            session.execute(delete(Artifact).where(Artifact.job_id == job_id, Artifact.name == name))

    def running_without_lease(self) -> Sequence[str]:
        """Jobs that say they run while nobody answers for them; parents wait for their children without a lease."""
        query = select(Job.id).where(_nobody_answers_for(self.database.now())).order_by(Job.id)
        with self.database.read() as session:
            return session.scalars(query).all()

    def end_leases(self) -> None:
        """Let the leases of those have run out, so that the sweep's own statement takes them up."""
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)
        with self.database.write() as session:
            session.execute(
                update(Job).where(_nobody_answers_for(self.database.now())).values(lease_expires_at=long_ago)
            )

    def wrong_counts(self) -> Sequence[WrongCount]:
        """Parents that wait for another number of children than there are."""
        child = aliased(Job)
        unfinished = (
            select(func.count())
            .where(child.parent_id == Job.id, child.status.not_in(ENDED))
            .correlate(Job)
            .scalar_subquery()
        )
        query = (
            select(Job.id, Job.pending_children, unfinished)
            .where(Job.status.not_in(ENDED), Job.pending_children != unfinished)
            .order_by(Job.id)
        )
        with self.database.read() as session:
            return [WrongCount(*row) for row in session.execute(query)]

    def set_count(self, wrong: WrongCount) -> None:
        """Write the right number; a parent that waits for nobody is what it becomes when its last child ends."""
        now = self.database.now()
        values: dict[str, Any] = {"pending_children": wrong.unfinished, "version": Job.version + 1}
        if wrong.unfinished == 0:
            cancelled = Job.cancel_requested_at.is_not(None)
            owned = Job.lease_token.is_not(None)
            values["status"] = case((owned, Job.status), (cancelled, CANCELLED), else_=QUEUED)
            values["finished_at"] = case((and_(cancelled, ~owned), now), else_=None)
            values["queued_at"] = None
        with self.database.write() as session:
            same = (Job.id == wrong.job_id, Job.pending_children == wrong.counted, Job.status.not_in(ENDED))
            session.execute(update(Job).where(*same).values(values))

    def complaints(self) -> list[str]:
        """What SQLite finds wrong with its own file; PostgreSQL has its own tools for that."""
        if self.database.engine.dialect.name != "sqlite":
            return []
        with self.database.read() as session:
            found = [str(row[0]) for row in session.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
            dangling = session.execute(text("PRAGMA foreign_key_check")).all()
        return found + [f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there" for row in dangling]


def _nobody_answers_for(now: datetime) -> Any:
    lapsed = or_(Job.lease_token.is_(None), Job.lease_expires_at.is_(None), Job.lease_expires_at < now)
    return and_(Job.status == RUNNING, Job.pending_children == 0, lapsed)
