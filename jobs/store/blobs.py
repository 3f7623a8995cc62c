"""Who refers to a blob: parts of feature sets, and artifacts."""

from collections.abc import Sequence

from sqlalchemy import select, union

from jobs.store.database import Database
from jobs.tables import Artifact, FeaturesPart


class BlobStore:
    """All tables with a digest in them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def referenced(self, digests: Sequence[str]) -> set[str]:
        """Which of these blobs some row refers to."""
        query = union(*(select(table.sha256).where(table.sha256.in_(digests)) for table in (FeaturesPart, Artifact)))
        with self.database.read() as session:
            return set(session.scalars(query))
