"""The engine: SQLite and PostgreSQL behind one way to read and one way to write."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from jobs.errors import Unavailable

BUSY_SECONDS = 4
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time that leases and reports are written with."""
    return datetime.now(UTC)


class Database:
    """One engine, and the two ways to use it: `read()` for statements that change nothing, `write()`."""

    def __init__(self, url: str, *, clock: Clock = utc_now) -> None:
        self.engine = create_database_engine(url)
        self.now = clock

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Single statements, each its own snapshot: takes no write lock on SQLite."""
        with (
            unavailable_when_away(),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction; committed when the block ends, rolled back when it raises."""
        with unavailable_when_away(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def ping(self) -> None:
        """Raise `Unavailable` unless the database answers and knows our tables."""
        with self.read() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn what drivers raise for a lost, locked or full database into `Unavailable`."""
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _unavailable() from error
        raise


def _unavailable() -> Unavailable:
    return Unavailable("database_unavailable", "The database does not answer. Nothing was changed; try again shortly.")


def create_database_engine(url: str) -> Engine:
    """An engine with the settings that each database needs."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    # The time limits keep a request from hanging behind a lock or an overloaded server.
    options = "-c statement_timeout=15000 -c lock_timeout=5000 -c timezone=UTC"
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=4,
        connect_args={"connect_timeout": 2, "options": options},
    )
    _watch_for_silence(engine)
    return engine


def _watch_for_silence(engine: Engine) -> None:
    from jobs.store.silence import Silence  # psycopg is for those who have a PostgreSQL

    silence = Silence()

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        return silence.connect(*arguments, **parameters)


def _configure_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event starts transactions, see below
    for pragma in ("busy_timeout = 4000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN that reads and then writes fails with "locked" under several writers, whatever the time-out.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
