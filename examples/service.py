"""The service as a child process: `collapse serve` on a free port, from its ready line to its end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

READY = "collapse is ready at "
START_SECONDS, STOP_SECONDS = 60, 30


@dataclass(frozen=True)
class Service:
    """A running service: where it answers, and the process that a SIGTERM ends with all its children."""

    url: str
    pid: int


@contextmanager
def running_service(data_dir: Path, *, log: Path, keep: bool) -> Iterator[Service]:
    """Run the service on an empty data folder; at the end it is stopped, unless all went well and `keep` is set."""
    _stop_kept_service(data_dir)
    shutil.rmtree(data_dir, ignore_errors=True)
    process = _start(data_dir, log)
    try:
        yield Service(_address(process, log), process.pid)
    except BaseException:
        _stop(process)
        raise
    if not keep:
        _stop(process)


def _start(data_dir: Path, log: Path) -> subprocess.Popen[str]:
    # On its own Valkey and SQLite, whatever the environment says of another service.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
    with log.open("w") as errors:
        return subprocess.Popen(
            [Path(sys.executable).with_name("collapse"), "serve", "--port", "0", "--data-dir", data_dir],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: the last request may end before the service does
        )


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Wait for the one line that the service prints when it is ready."""
    impatience = threading.Timer(START_SECONDS, process.terminate)
    impatience.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
    finally:
        impatience.cancel()
    if not line.startswith(READY):
        sys.exit(f"The service did not start; {log} says why:\n{log.read_text()[-2000:]}")
    return line.removeprefix(READY).strip()


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_kept_service(data_dir: Path) -> None:
    """End the service that an earlier run has kept: it holds the lock on its data folder, a file that names it."""
    lock = data_dir / "lock"
    if not lock.exists():
        return
    with lock.open() as file:
        if _is_free(file.fileno()):
            return
        pid = int(file.read())
        with suppress(ProcessLookupError):  # it is ending already
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while not _is_free(file.fileno()):
            if time.monotonic() > deadline:
                sys.exit(f"The service of an earlier run does not end: stop process {pid}, then try again.")
            time.sleep(0.1)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
