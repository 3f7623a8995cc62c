"""A PostgreSQL server for tests, with a fresh database for whoever asks: `deployment.postgres` finds its programs."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

from deployment.ports import free_port
from deployment.postgres import copy_programs as _copy_programs
from deployment.postgres import identity
from deployment.postgres import make_data as _make_cluster

START_SECONDS = 60.0
OPTIONS = (
    "--listen_addresses=127.0.0.1",
    "--unix_socket_directories=",
    "--shared_buffers=16MB",
    # The cluster is thrown away: nothing need survive a power cut.
    "--fsync=off",
    "--synchronous_commit=off",
    "--full_page_writes=off",
)
_numbers = count(1)


@dataclass(frozen=True)
class PostgresServer:
    """A running server on 127.0.0.1 that trusts everybody on this machine."""

    port: int
    programs: Path
    libraries: Path

    def url(self, database: str, *, driver: str = "postgresql+psycopg") -> str:
        """The SQLAlchemy URL of a database; with driver "postgresql", psycopg's own."""
        return f"{driver}://postgres@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """A fresh database, a copy of the template; dropped at the end, whoever is still connected."""
        name = f"test_{next(_numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres", driver="postgresql"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Make a cluster and run it.

    At the end the server is stopped and its folder removed, also on failure; it ends as well when the tests are killed.
    """
    # `nobody` must be able to enter the folder, wherever TMPDIR points.
    place = "/tmp" if identity() else None
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=place, ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        programs, libraries = _copy_programs(folder)
        environment = {"LD_LIBRARY_PATH": str(libraries), "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        data = _make_cluster(folder, programs, environment)
        server = PostgresServer(free_port(), programs, libraries)
        command = [programs / "postgres", "-D", data, "-p", str(server.port), *OPTIONS]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "QUIT", *command],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **identity(),
            )  # fmt: skip
            try:
                _wait_until_ready(server, process, folder / "log")
                yield server
            finally:
                _stop(process)


def _wait_until_ready(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(server.url("postgres", driver="postgresql"), connect_timeout=2).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from error
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # "fast": clients are disconnected
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # "immediate": its own children go as well
        process.wait(10)
