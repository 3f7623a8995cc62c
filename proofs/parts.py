"""The parts of the service as processes that can be killed one by one, and start again at once.

`collapse serve` starts what has died ever more slowly, which is right for what dies by itself. Here somebody kills,
hundreds of times.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
from killable_postgres import KillablePostgres
from service_process import wait_for
from valkey_server import redis_client

from deployment.ports import free_port
from jobs.queue import Queue, create_celery
from server import embedded
from server.children import kill_session

START_SECONDS = 60.0


class Part:
    """One process in a session of its own, and how often it was killed."""

    def __init__(self, name: str, command: list[Any], log: Path, **options: Any) -> None:
        self.name, self.log, self._options = name, log, options
        self._command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process as it runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; it may take a while until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._options
            )

    def kill(self) -> None:
        """Kill -9, and end what it has left behind, as the supervisor does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            kill_session(self._process.pid)
            self._process = None

    def computing_child(self) -> int | None:
        """The pool's process of a worker, if there is one at the moment."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        except OSError:
            return None
        return next((child for child, command in commands.items() if b"spawn_main" in command), None)

    def kill_child(self) -> bool:
        """Kill -9 of that process; False if there is none just now."""
        child = self.computing_child()
        with suppress(ProcessLookupError):  # it has just ended
            if child is not None:
                os.kill(child, signal.SIGKILL)
                return True
        return False

    def lines(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Parts:
    """A broker, a PostgreSQL, an API and workers, each killable, on one data folder."""

    def __init__(self, folder: Path, database: KillablePostgres, *, workers: int, settings: Mapping[str, str]) -> None:
        self.folder, self.data, self.database = folder, folder / "data", database
        broker_folder, broker_port, api_port = folder / "broker", free_port(), free_port()
        broker_folder.mkdir()
        self.url = f"http://127.0.0.1:{api_port}"
        self.broker_url = embedded.broker_url(broker_port)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
        self.settings = {
            "COLLAPSE_DATA_DIR": str(self.data),
            "COLLAPSE_DATABASE_URL": database.url,
            "COLLAPSE_BROKER_URL": self.broker_url,
            "COLLAPSE_WORKER_MEMORY_BYTES": str(2**31),
            **settings,
        }
        self._environment = {**inherited, **self.settings}
        broker = embedded.command(embedded.find_binary(), folder=broker_folder, address=broker_port)
        self.broker = Part("broker", broker, folder / "broker.log")
        self.api = self._part("api", "-m", "server", "api", "--port", str(api_port))
        self.workers = [self._part(f"worker-{number}", "-m", "worker") for number in range(workers)]

    def _part(self, name: str, *arguments: str) -> Part:
        return Part(name, [sys.executable, *arguments], self.folder / f"{name}.log", env=self._environment)

    def start(self) -> None:
        """Start all, migrate, and return when everything answers."""
        self.broker.start()
        self.run("migrate")
        for part in (self.api, *self.workers):
            part.start()
        self.wait_until_ready()

    def run(self, *command: str) -> str:
        """Run one of the service's commands to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "server", *command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when the API, the database, the broker and a worker answer."""

        def ready() -> bool:
            try:
                return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(ready, "readiness", seconds=seconds)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows, read past the service; the database must be up."""
        with psycopg.connect(self.database.dsn, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def wipe_broker(self) -> None:
        """Lose every message."""
        with redis_client(self.broker_url) as client:
            client.flushall()

    def send(self, job_id: str, times: int) -> None:
        """Put the message of a job into the broker so many times."""
        queue = Queue(create_celery(self.broker_url))
        for _ in range(times):
            queue.enqueue(job_id)
        queue.close()

    def stop(self) -> None:
        """Kill what runs."""
        for part in (*self.workers, self.api, self.broker):
            with suppress(OSError):  # the proof has killed it already
                part.kill()


@contextmanager
def running_parts(folder: Path, *, workers: int = 2, **settings: str) -> Iterator[Parts]:
    """All parts, ready; settings are COLLAPSE_* variables. Whatever runs at the end is killed."""
    with ExitStack() as stack:
        database = stack.enter_context(KillablePostgres.running())
        parts = Parts(folder, database, workers=workers, settings=settings)
        stack.callback(parts.stop)
        parts.start()
        yield parts


@contextmanager
def frozen(*process_ids: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    for process_id in process_ids:
        os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        for process_id in process_ids:
            with suppress(ProcessLookupError):  # ended while it was frozen
                os.kill(process_id, signal.SIGCONT)


def pause(seconds: float) -> None:
    """Let the service work for a while: the moment of the next kill is drawn by lot."""
    time.sleep(seconds)
