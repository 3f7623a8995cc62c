"""PostgreSQL's own programs: pg_dump and pg_restore, found on PATH."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import make_url, text

from jobs.store import Database
from jobs.store.blobs import every_reference
from jobs.store.database import unavailable_when_away
from server.errors import StartRefused


def dump(database: Database, url: str, target: Path) -> Sequence[str]:
    """Dump the database as it stands at one moment; the digests that it refers to at that very moment."""
    with (
        unavailable_when_away(),
        database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as seen,
    ):
        snapshot = seen.scalar(text("SELECT pg_export_snapshot()"))
        digests = sorted(seen.scalars(every_reference()))
        _run("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={target}")
    return digests


def load(url: str, source: Path) -> None:
    """Fill an empty database from a dump: whole, or not at all."""
    _run("pg_restore", url, "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(source))


def _run(program: str, url: str, *arguments: str) -> None:
    binary = shutil.which(program)
    if binary is None:
        raise StartRefused(
            f"{program} is not on PATH. Install PostgreSQL's client programs, of the server's version or a newer one "
            "(Debian: apt-get install postgresql-client)."
        )
    address = make_url(url)
    # Without the password, which everybody could read in the list of processes.
    shown = address.set(drivername="postgresql", password=None).render_as_string()
    environment = {**os.environ, **({"PGPASSWORD": str(address.password)} if address.password else {})}
    done = subprocess.run(
        [binary, f"--dbname={shown}", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartRefused(f"{program} failed: {done.stderr.strip()[-2000:]}")
