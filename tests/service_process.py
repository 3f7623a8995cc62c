"""A running `collapse serve`, its children, and the proof that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY = "collapse is ready at "
# What a service is told that is to repair within moments what a test breaks.
QUICK = {
    "COLLAPSE_LEASE_SECONDS": "2",
    "COLLAPSE_SWEEP_SECONDS": "0.3",
    "COLLAPSE_RESEND_AFTER_SECONDS": "0.5",
}
# A job that is cancelled must stop by itself, and not because its process is ended.
LONG_GRACE = {"COLLAPSE_CANCEL_GRACE_SECONDS": "100"}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll until the condition gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return result


@dataclass
class Service:
    """A running `collapse serve`."""

    process: subprocess.Popen[bytes]
    mark: str
    output: Path
    errors: Path

    def url(self) -> str:
        """The address, once it is ready."""
        line = wait_for(lambda: self.output.read_text().endswith("\n") and self.output.read_text(), "readiness")
        assert line.startswith(READY)
        assert line.count("\n") == 1
        return str(line.removeprefix(READY).strip())

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET."""
        try:
            answer = urllib.request.urlopen(self.url() + path, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode()

    def events(self, event: str) -> list[dict[str, Any]]:
        """The supervisor's log lines of one kind."""
        whole_lines = self.errors.read_text().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole_lines if line.startswith("{")]
        return [line for line in lines if line.get("logger") == "server" and line["event"] == event]

    def child(self, name: str, *, start: int = 1) -> int:
        """The process id of a child's n-th start."""

        def pids() -> list[int]:
            return [line["pid"] for line in self.events("child started") if line["child"] == name]

        return int(wait_for(lambda: len(pids()) >= start and pids()[start - 1], f"start {start} of {name}"))

    def survivors(self) -> list[int]:
        """Every process that descends from this service, wherever it went.

        They inherit a mark in the environment; Valkey writes over its own, but leads a session with a logged id.
        """
        sessions = {line["pid"] for line in self.events("child started")}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                marked = self.mark.encode() in (folder / "environ").read_bytes()
            except OSError:
                continue  # it ended while we were looking
            if state != "Z" and (marked or int(session) in sessions):
                found.append(int(folder.name))
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def end(self) -> None:
        """Kill what is left."""
        self.process.kill()
        self.process.wait()
        for pid in self.survivors():
            with suppress(ProcessLookupError):  # it may be ending already
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_service(
    folder: Path, *arguments: str, command: Sequence[str] = (sys.executable, "-m", "server"), **settings: str
) -> Iterator[Service]:
    """Run `collapse serve` on a free port, with its data in `folder`; settings are COLLAPSE_* variables.

    Whatever is left of it at the end is killed, also when the tests themselves are.
    """
    mark = uuid.uuid4().hex
    output, errors = (folder.parent / f"{mark}.{kind}" for kind in ("out", "err"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLLAPSE_")}
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command, "serve", "--data-dir", folder, "--port", "0", *arguments],
            env={**inherited, "TEST_MARK": mark, **settings},
            stdout=out,
            stderr=err,
        )
    service = Service(process, mark, output, errors)
    try:
        yield service
    finally:
        service.end()
