"""Every statement on the audit log: who changed what, when, and with what outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select

from jobs.store.database import Database
from jobs.tables import AuditEntry, new_id


@dataclass(frozen=True)
class AuditFilter:
    """Which entries to list; `after` is the (at, id) of the last one seen."""

    since: datetime | None = None
    object_id: str | None = None
    after: tuple[datetime, str] | None = None


class AuditStore:
    """The table `audit`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, **values: Any) -> None:
        """Commit an entry of now; the columns are those of the table."""
        row = {"id": new_id("audit"), "at": self.database.now(), **values}
        with self.database.write() as session:
            session.execute(insert(AuditEntry), [row])

    def list(self, where: AuditFilter, *, limit: int) -> Sequence[AuditEntry]:
        """Newest first."""
        query = select(AuditEntry).order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit)
        if where.since is not None:
            query = query.where(AuditEntry.at >= where.since)
        if where.object_id is not None:
            query = query.where(AuditEntry.object_id == where.object_id)
        if where.after is not None:
            at, entry_id = where.after
            query = query.where(or_(AuditEntry.at < at, and_(AuditEntry.at == at, AuditEntry.id < entry_id)))
        with self.database.read() as session:
            return session.scalars(query).all()

    def delete_older(self, *, than_seconds: float) -> int:
        """Forget what is older; how many entries that were."""
        before = self.database.now() - timedelta(seconds=than_seconds)
        with self.database.write() as session:
            return session.connection().execute(delete(AuditEntry).where(AuditEntry.at < before)).rowcount


def entry(at: datetime, *, owner: str, action: str, object_id: str) -> AuditEntry:
    """The row of a change that was no request: it is added in the transaction of the change."""
    return AuditEntry(id=new_id("audit"), at=at, owner=owner, action=action, object_id=object_id)
