"""How much there is of everything: read by those who watch the service, never by those who use it."""

from sqlalchemy import func, select, union

from jobs.store.database import Database
from jobs.tables import Artifact, FeaturesPart, Job


class CensusStore:
    """Counts over whole tables."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def jobs_by_status(self) -> dict[str, int]:
        """How many jobs there are in each state; what is zero is left out."""
        with self.database.read() as session:
            rows = session.execute(select(Job.status, func.count()).group_by(Job.status))
            return dict(rows.all())

    def blob_bytes(self) -> int:
        """Bytes of all blobs that rows refer to, each once."""
        blobs = union(*(select(table.sha256, table.size_bytes) for table in (FeaturesPart, Artifact))).subquery()
        with self.database.read() as session:
            return int(session.scalar(select(func.coalesce(func.sum(blobs.c.size_bytes), 0))) or 0)
