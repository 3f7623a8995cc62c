"""Every statement on workers: who is there, on what device, with how much memory."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select, update

from jobs.store.database import Database
from jobs.tables import Worker

GONE_AFTER_SECONDS = 60.0
"""Without a word for so long, a worker is not counted on."""
FORGOTTEN_AFTER_SECONDS = 3600.0


class WorkerStore:
    """The table `workers`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def arrive(self, name: str, *, device: str, queues: Sequence[str], memory_bytes: int) -> None:
        """Say that a worker is there, or what it is like now."""
        with self.database.write() as session:
            session.merge(
                Worker(
                    name=name,
                    device=device,
                    queues=list(queues),
                    memory_bytes=memory_bytes,
                    seen_at=self.database.now(),
                )
            )

    def keep_alive(self, name: str) -> None:
        """Say that it is still there, and forget those of whom nothing was heard for long."""
        now = self.database.now()
        with self.database.write() as session:
            session.execute(update(Worker).where(Worker.name == name).values(seen_at=now))
            session.execute(delete(Worker).where(Worker.seen_at < now - timedelta(seconds=FORGOTTEN_AFTER_SECONDS)))

    def leave(self, name: str) -> None:
        """Say that it ends."""
        with self.database.write() as session:
            session.execute(delete(Worker).where(Worker.name == name))

    def present(self) -> Sequence[Worker]:
        """Those who were heard of lately, by name."""
        since = self.database.now() - timedelta(seconds=GONE_AFTER_SECONDS)
        with self.database.read() as session:
            return session.scalars(select(Worker).where(Worker.seen_at >= since).order_by(Worker.name)).all()
