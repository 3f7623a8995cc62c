"""A PostgreSQL that hangs is told in time, and one that is merely slow is not taken for one that hangs."""

import os
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.errors import Unavailable
from jobs.store import Database
from jobs.store.silence import BELIEVED_SECONDS, SILENT_SECONDS


@pytest.fixture
def database(postgres):
    with postgres.database() as url:
        database = Database(url)
        yield database
        database.close()


def ask(database: Database, statement: str = "SELECT pg_backend_pid()") -> int:
    with database.read() as session:
        return session.scalar(text(statement))


def test_a_server_that_hangs_is_told_and_believed_for_a_moment(database) -> None:
    backend = ask(database)
    postmaster = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    for process_id in (postmaster, backend):
        os.kill(process_id, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(Unavailable):
                ask(database)
        assert time.monotonic() - started < 5
    finally:
        for process_id in (postmaster, backend):
            os.kill(process_id, signal.SIGCONT)
    time.sleep(BELIEVED_SECONDS)
    assert ask(database) != backend  # nobody trusts that connection any more


def test_a_long_statement_may_take_its_time(database) -> None:
    assert ask(database, f"SELECT 7 FROM pg_sleep({2 * SILENT_SECONDS})") == 7
