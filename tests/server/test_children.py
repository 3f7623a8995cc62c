"""One child: when it is restarted, and that it is ended with all that it started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_process import wait_for

from server.children import HEALTHY_LIFE_SECONDS, LONGEST_DELAY_SECONDS, Child, kill_session, session_members

# pytest and its plug-ins have threads; the supervisor, for which the children are made, has none.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make_child() -> Iterator[Callable[..., tuple[Child, Clock]]]:
    """A factory of children with a clock that the test sets."""
    children = []

    def make(*command: str) -> tuple[Child, Clock]:
        clock = Clock()
        children.append(Child("child", command, dict(os.environ), clock=clock))
        return children[-1], clock

    yield make
    for child in children:
        child.kill()


def delay_after_death(child: Child, clock: Clock, *, step: float) -> float:
    """Wait for the death, then turn the clock on until the child is restarted."""
    pid = child.pid

    def gone() -> bool:
        child.keep_running()
        return child.pid != pid

    wait_for(gone, "the end of the child")
    before = clock.now
    while child.pid is None:
        clock.now += step
        child.keep_running()
    return clock.now - before


def test_delay_doubles_up_to_a_limit(make_child):
    child, clock = make_child("true")
    child.start()
    delays = [delay_after_death(child, clock, step=0.5) for _ in range(9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, LONGEST_DELAY_SECONDS]


def test_delay_is_forgotten_after_a_healthy_life(make_child):
    child, clock = make_child("true")
    child.start()
    assert [delay_after_death(child, clock, step=0.5) for _ in range(3)] == [0.5, 1, 2]
    clock.now += HEALTHY_LIFE_SECONDS
    assert delay_after_death(child, clock, step=0.5) == 0.5


def test_program_that_cannot_be_started_is_tried_again(make_child, tmp_path):
    program = tmp_path / "program"
    child, clock = make_child(str(program))
    child.start()
    assert child.pid is None
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    clock.now += 1
    child.keep_running()
    assert child.pid is not None


def test_end_of_a_child_ends_its_session(make_child):
    started = "import os, subprocess; subprocess.Popen(['sleep', '600'], process_group=0); os._exit(5)"
    child, _ = make_child(sys.executable, "-c", started)
    child.start()
    session = child.pid
    assert wait_for(child.ended, "the end of the child") == 5
    assert session_members(session) == []


def test_session_is_killed_whatever_its_members_ignore():
    shell = "trap '' TERM INT HUP; sleep 600 & sleep 600 & echo; wait"
    process = subprocess.Popen(["sh", "-c", shell], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    wait_for(lambda: len(session_members(process.pid)) == 3, "the shell's children")
    kill_session(process.pid)
    assert process.wait() == -9
    process.stdout.close()
    assert session_members(process.pid) == []


def test_output_of_a_child_goes_to_standard_error(tmp_path: Path):
    script = (
        "from server.children import Child; import os, time\n"
        "child = Child('talker', ['echo', 'hello'], dict(os.environ)); child.start()\n"
        "while child.ended() is None: time.sleep(0.01)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "hello" in result.stderr.splitlines()
    assert "hello" not in result.stdout.splitlines()
