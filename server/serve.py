"""`collapse serve`: which children there are, on which folder and address, and what they are told."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jobs.memory import memory_for_jobs
from jobs.settings import Settings
from server import embedded
from server.address import Readiness, listen, url_of
from server.children import Child
from server.devices import count_gpus, devices_of
from server.errors import StartRefused
from server.lock import DataFolderLock
from server.numbers import numbers_of_service
from server.supervisor import Supervisor, run_to_end, signals_taken_up_later

COMMAND = (sys.executable, "-m", "server")


def serve(settings: Settings, *, host: str, port: int, data_dir: Path | None, workers: int) -> int:
    """Run the whole service until SIGTERM or SIGINT, and give the exit code.

    Raises:
        StartRefused: if it cannot start; then nothing is left running.

    """
    folder = folder_of(settings, data_dir)
    settings = settings.model_copy(update={"data_dir": folder})
    with (
        DataFolderLock(folder) as lock,
        closing(listen(host, port, settings)) as listener,
        _broker(settings, folder) as (broker_url, broker_command),
        signals_taken_up_later(),
    ):
        environment = _environment(settings, folder, broker_url, workers=workers)

        def child(name: str, *command: str, descriptors: tuple[int, ...] = (), **own: str) -> Child:
            return Child(name, command, {**environment, **own}, descriptors=(lock.descriptor, *descriptors))

        migrated = run_to_end(child("migrate", *COMMAND, "migrate"))
        if migrated is None:  # asked to stop
            return 0
        if migrated != 0:
            raise StartRefused("The database could not be migrated; the lines above say why. Nothing was started.")
        socket_number = listener.fileno()
        stages = [
            [
                child(f"worker-{number}", *COMMAND, "worker", COLLAPSE_DEVICE=device)
                for number, device in enumerate(devices_of(settings, workers=workers, gpus=count_gpus()), 1)
            ],
            [child("api", *COMMAND, "api", "--fd", str(socket_number), descriptors=(socket_number,))],
            [child("broker", *broker_command)] if broker_command else [],
        ]
        with closing(Readiness(listener)) as readiness:
            Supervisor(stages).run(is_ready=readiness.reached, announcement=f"collapse is ready at {url_of(listener)}")
    return 0


def _environment(settings: Settings, folder: Path, broker_url: str, *, workers: int) -> dict[str, str]:
    """Build the environment of the children: ours, with what this command has decided."""
    memory = settings.worker_memory_bytes or memory_for_jobs(workers=workers)
    own = {
        "COLLAPSE_DATA_DIR": str(folder),
        "COLLAPSE_BROKER_URL": broker_url,
        "COLLAPSE_METRICS_DIR": str(numbers_of_service(settings, folder)),
        "COLLAPSE_WORKER_MEMORY_BYTES": str(memory),
    }
    # A folder `server` or `jobs` in the user's current directory must not come before ours.
    return {**os.environ, **own, "PYTHONSAFEPATH": "1"}


@contextmanager
def _broker(settings: Settings, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Give the broker's URL, and the command that runs it; an external one has no command."""
    if "broker_url" in settings.model_fields_set:
        yield settings.broker_url, []
        return
    data = folder / "broker"
    binary = embedded.find_binary(settings.broker_binary)
    address = embedded.make_socket_path(data)
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        yield embedded.broker_url(address), embedded.command(binary, folder=data, address=address)
    finally:
        if address.parent != data:
            shutil.rmtree(address.parent)


def folder_of(settings: Settings, data_dir: Path | None) -> Path:
    """The data folder that is named on the command line, or else in the settings, or else the user's."""
    return (data_dir or default_folder(settings)).expanduser().absolute()


def default_folder(settings: Settings) -> Path:
    """Choose the data folder where none is named on the command line."""
    if "data_dir" in settings.model_fields_set:
        return settings.data_dir
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "collapse"
