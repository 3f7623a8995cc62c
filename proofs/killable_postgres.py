"""A PostgreSQL that survives kill -9 of all its processes, as a server with a sound disk does, and starts again."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from service_process import wait_for

from deployment.ports import free_port
from deployment.postgres import copy_programs, identity, make_data

OPTIONS = (
    "--listen_addresses=127.0.0.1",
    "--unix_socket_directories=",
    "--shared_buffers=16MB",
    "--max_connections=200",
    # A commit must be in the files before it is told: the processes are killed. The machine is not, so no fsync.
    "--synchronous_commit=on",
    "--fsync=off",
    "--checkpoint_timeout=30s",
)


class KillablePostgres:
    """One server on 127.0.0.1, on a folder that outlives its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        programs, libraries = copy_programs(folder)
        self._environment = {"LD_LIBRARY_PATH": str(libraries), "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        data = make_data(folder, programs, self._environment)
        self._command = [programs / "postgres", "-D", data, "-p", str(self._port), *OPTIONS]
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["KillablePostgres"]:
        """A server that answers; killed at the end, its folder removed."""
        place = "/tmp" if identity() else None
        with tempfile.TemporaryDirectory(prefix="postgres-", dir=place, ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            folder.chmod(0o755)
            server = cls(folder)
            server.start()
            try:
                server.wait_until_ready()
                yield server
            finally:
                server.kill()

    @property
    def dsn(self) -> str:
        """For psycopg."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return self.dsn.replace("postgresql://", "postgresql+psycopg://")

    def start(self) -> None:
        """Start it; after a kill it recovers first."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "QUIT", *self._command],
                cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **identity(),
            )  # fmt: skip

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def wait_until_ready(self) -> None:
        """Return when it answers."""
        wait_for(self.answers, "the start of PostgreSQL", seconds=60)

    def processes(self) -> list[int]:
        """The postmaster and all its children."""
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def kill(self) -> None:
        """Kill -9 of all its processes at once."""
        if self._process is None:
            return
        for process_id in self.processes():
            with suppress(ProcessLookupError):  # a child that has just ended
                os.kill(process_id, signal.SIGKILL)
        self._process.wait()
        self._process = None
