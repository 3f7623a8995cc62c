"""On a terminal: the bar while a job runs, its colours, Ctrl-C. A pseudo-terminal is one in all respects."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from service_process import wait_for

COMMAND = [sys.executable, "-m", "collapse_client.cli"]
COLOURS = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;5;\d+)[;m]")
CTRL_C = b"\x03"
pytestmark = pytest.mark.timeout(300)


class Terminal:
    """A process with a terminal of its own, and what it has shown so far."""

    def __init__(self, command: list[str], environment: dict[str, str], **streams: Any) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.shown = ""
        given = {**dict.fromkeys(("stdin", "stdout", "stderr"), theirs), **streams}
        self.process = subprocess.Popen(["setsid", "--ctty", "--wait", *command], env=environment, **given)
        os.close(theirs)

    def sees(self, text: str) -> bool:
        """Read what has come, and say whether `text` was ever shown."""
        while True:
            try:
                come = os.read(self._ours, 65536)
            except BlockingIOError:
                break
            except OSError:  # the process has closed it
                break
            if not come:
                break
            self.shown += come.decode(errors="replace")
        return text in self.shown

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._ours, keys)

    def ended(self) -> int:
        """The exit code, once the process has ended, and all that it has shown was read."""
        wait_for(lambda: self.sees("\0") or self.process.poll() is not None, "the end of the command", seconds=120)
        self.sees("")
        return self.process.returncode

    def close(self) -> None:
        """End what is left: who loses the terminal is hung up."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as terminals:

        def open_terminal(command: list[str], streams: dict[str, Any] | None = None, **more: str) -> Terminal:
            one = Terminal(command, {**environment, "COLUMNS": "100", **more}, **(streams or {}))
            terminals.callback(one.close)
            return one

        yield open_terminal


def test_a_bar_until_the_end(terminal, client, long_job):
    watching = terminal([*COMMAND, "watch", long_job])
    wait_for(lambda: watching.sees("training"), "the phase", seconds=60)
    wait_for(lambda: watching.sees(" left"), "the estimate", seconds=60)
    assert "%" in watching.shown
    assert "\x1b[?25l" in watching.shown  # the cursor is hidden
    assert COLOURS.search(watching.shown)
    client.cancel(long_job)
    assert watching.ended() == 4
    assert watching.shown.endswith(f"collapse: The job {long_job} was cancelled.\r\n")
    assert "\x1b[?25h" in watching.shown  # and shown again


def test_a_stream_that_breaks_off_is_followed_by_asking(terminal, client, service):
    job = client.wait(client.submit("train_dufm", num_classes=2, depth=2, width=3, steps=10))
    half = {**job, "status": "running", "progress": {**job["progress"], "fraction": 0.5}}
    service.will_answer(200, f"event: state\ndata: {json.dumps(half)}\nid: 2\n\ndata: {{".encode())
    service.will_answer(200, half)
    service.will_answer(200, job)
    watching = terminal([*COMMAND, "watch", job["id"], "--url", service.url])
    assert watching.ended() == 0
    assert f"{job['id']} succeeded" in watching.shown
    assert [path for _, path, *_ in service.requests] == [
        f"/v1/jobs/{job['id']}{end}" for end in ("/events", *["?wait=1"] * 2)
    ]


def test_no_color(terminal, client, long_job):
    watching = terminal([*COMMAND, "watch", long_job], NO_COLOR="1")
    wait_for(lambda: watching.sees("training"), "the phase", seconds=60)
    client.cancel(long_job)
    assert watching.ended() == 4
    assert not COLOURS.search(watching.shown)


@pytest.mark.parametrize("command", [["watch"], ["gate", "interrupted", "rank(last) > 1", "--wait"]])
def test_ctrl_c_leaves_the_job_running(terminal, client, command):
    job = client.submit("train_dufm", steps=10_000_000, stop_when=None, run="interrupted")["id"]
    watching = terminal([*COMMAND, *command, *([job] if command == ["watch"] else [])])
    wait_for(lambda: watching.sees("training"), "the phase", seconds=60)
    watching.press(CTRL_C)
    assert watching.ended() == 130
    assert f"The job {job} goes on: `collapse watch {job}` follows it" in watching.shown
    assert "Traceback" not in watching.shown
    assert client.job(job)["status"] == "running"
    client.cancel(job)
    wait_for(lambda: client.job(job)["status"] == "cancelled", "the end")


def test_the_bar_stays_out_of_what_is_written_to_a_file(terminal, client, long_job, tmp_path):
    trained = ["dufm", "train", "--num-classes", "2", "--depth", "2", "--width", "3", "--steps", "50"]
    with (tmp_path / "report.json").open("wb") as file:
        training = terminal([*COMMAND, *trained, "--wait", "--json"], {"stdout": file})
    wait_for(lambda: training.sees("queued"), "the bar", seconds=60)
    client.cancel(long_job)
    assert training.ended() == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == client.report(report["job_id"])


def test_the_client_has_the_same_bar(terminal, client, address, long_job):
    code = f"from collapse_client import Client; Client({address!r}).wait({long_job!r}, progress=True)"
    waiting = terminal([sys.executable, "-c", code])
    wait_for(lambda: waiting.sees("training"), "the phase", seconds=60)
    waiting.press(CTRL_C)
    waiting.ended()
    assert "\x1b[?25h" in waiting.shown


def test_the_client_is_quiet_without_a_terminal(client, capfd):
    heard = []
    job = client.submit("train_dufm", num_classes=2, depth=2, width=3, steps=50)
    client.wait(job, progress=True, on_progress=heard.append)
    assert heard[-1]["status"] == "succeeded"
    assert capfd.readouterr() == ("", "")


def test_tables_fit_the_terminal(terminal, training):
    listing = terminal([*COMMAND, "run", training], COLUMNS="60")
    assert listing.ended() == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", listing.shown).replace("\r", "")
    assert "\nstep " in shown
    assert max(map(len, shown.split("\n"))) <= 60


def test_an_id_is_in_one_piece_on_a_terminal_of_eighty_columns(terminal, long_job):
    listing = terminal([*COMMAND, "jobs"], COLUMNS="80")
    assert listing.ended() == 0
    assert long_job in listing.shown
