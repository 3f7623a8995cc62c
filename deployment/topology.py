"""The processes of a cluster on this machine: APIs and workers that share a database, a broker and an object store."""

import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deployment.process import Process
from deployment.waiting import NotStarted, wait_until
from jobs.store import Database, WorkerStore

COLLAPSE = Path(sys.executable).with_name("collapse")
PREFIX = "COLLAPSE_"


class StorageLost(Exception):
    """The S3 server of the cluster keeps files for as long as it runs, and has ended."""


@dataclass
class Cluster:
    """A running cluster. Processes may be killed, stopped and started by name; an API comes back on its old port."""

    folder: Path
    settings: dict[str, str]
    stores: dict[str, Process]
    apis: dict[str, Process] = field(default_factory=dict)
    workers: dict[str, Process] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    @property
    def api_key(self) -> str:
        """The operator's key."""
        return self.settings["COLLAPSE_API_KEY"]

    def start_api(self, port: int) -> Process:
        """Start one more API, on this port."""
        name = f"api-{len(self.apis) + 1}"
        command: list[str | Path] = [COLLAPSE, "api", "--host", "127.0.0.1", "--port", str(port)]
        self.apis[name] = self._start(name, command)
        self.urls.append(f"http://127.0.0.1:{port}")
        return self.apis[name]

    def start_worker(self, **settings: str) -> Process:
        """Start one more worker, with settings of its own besides those of all."""
        name = f"worker-{len(self.workers) + 1}"
        own = {"COLLAPSE_WORKER_NAME": _worker_name(name), **settings}
        self.workers[name] = self._start(name, [COLLAPSE, "worker"], **own)
        return self.workers[name]

    def migrate(self) -> None:
        """Bring the database to the schema of this version."""
        process = self._start("migrate", [COLLAPSE, "migrate"])
        if process.wait(60) != 0:
            raise NotStarted(f"The database was not migrated.\n{process.last_words()}")

    def wait_until_ready(self) -> None:
        """Return when every API answers and every worker that runs waits for jobs."""
        expected = {_worker_name(name) for name, process in self.workers.items() if process.running()}
        processes = [process for process in (*self.apis.values(), *self.workers.values()) if process.running()]
        database = Database(self.settings["COLLAPSE_DATABASE_URL"])
        try:
            present = WorkerStore(database).present
            wait_until(lambda: expected <= {worker.name for worker in present()}, "workers that wait", *processes)
        finally:
            database.close()
        wait_until(lambda: all(map(_ready, self.urls)), "an answer of every API", *processes)

    def keep_running(self) -> list[str]:
        """Start again what has died; the names.

        Raises:
            StorageLost: if the S3 server has died: what it held is gone.

        """
        if not self.stores["storage"].running():
            raise StorageLost(
                f"The S3 server has ended, and with it all that it held.\n{self.stores['storage'].last_words()}"
            )
        processes = (*self.stores.values(), *self.apis.values(), *self.workers.values())
        return [process.name for process in processes if process.keep_running()]

    def stop(self) -> None:
        """End all APIs and workers: asked together, waited for one by one."""
        processes = [*self.workers.values(), *self.apis.values()]
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            process.stop()

    def _start(self, name: str, command: list[str | Path], **settings: str) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        own = {**self.settings, **settings, "COLLAPSE_DATA_DIR": str(self.folder / name), "PYTHONSAFEPATH": "1"}
        process = Process(name, command, {**inherited, **own}, log=self.folder / f"{name}.log")
        process.start()
        return process


def _worker_name(name: str) -> str:
    return f"{name}@{socket.gethostname()}"


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).is_success
    except httpx.TransportError:
        return False
