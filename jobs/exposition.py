"""What Prometheus reads: the numbers that this process makes, and those that it tells."""

from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import event

from jobs.numbers_folder import NumbersFolder
from jobs.store import Database

logger = structlog.get_logger()


class Exposition:
    """The registries of one process; with a folder, it tells the numbers of all processes that share it."""

    def __init__(self, folder: Path | None) -> None:
        self.own = CollectorRegistry()
        """where this process makes its metrics"""
        self.told = self.own
        """what it tells when it is asked"""
        if folder is not None and (shared := _joined(folder)):
            self.told = CollectorRegistry(auto_describe=False)
            self.told.register(shared)

    def text(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.told)

    def count_connections(self, database: Database) -> None:
        """Tell how many connections to the database are in use."""
        in_use = Gauge(
            "collapse_database_connections_in_use",
            "Connections to the database that statements are running on",
            registry=self.own,
            multiprocess_mode="livesum",
        )
        event.listen(database.engine, "checkout", lambda *_: in_use.inc())
        event.listen(database.engine, "checkin", lambda *_: in_use.dec())


def _joined(folder: Path) -> NumbersFolder | None:
    """The folder with this process in it; a service without numbers is better than none."""
    numbers = NumbersFolder(folder)
    try:
        numbers.join()
        numbers.bury_the_dead()
    except OSError as error:
        logger.warning("the numbers of this process are not shared: no room for them", reason=error.strerror)
        return None
    return numbers
