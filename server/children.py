"""A child process: in a session of its own, restarted with back-off, ended together with all that it has started."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import structlog

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
HEALTHY_LIFE_SECONDS = 60.0
KILL_SECONDS = 5.0
PR_SET_PDEATHSIG = 1

log = structlog.get_logger("server")
_libc = ctypes.CDLL(None)


class Child:
    """One process that is to be kept running.

    It leads a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone, and so that whatever
    it starts can be found and ended with it. Its output goes to standard error: standard output is the supervisor's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        descriptors: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = dict(environment)
        self._descriptors = tuple(descriptors)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._delay = 0.0
        self._restart_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process; if that fails, it is tried again like after a death."""
        self._started_at = self._clock()
        try:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=2, pass_fds=self._descriptors,
                start_new_session=True, preexec_fn=end_with_parent(signal.SIGTERM),
            )  # fmt: skip
        except OSError as error:
            self._plan_restart(reason=str(error))
        else:
            log.info("child started", child=self.name, pid=self._process.pid)

    def ended(self) -> int | None:
        """Tell the exit code (−n after signal n) once the process has ended, and end what it has left behind."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            kill_session(self._process.pid)
            self._process = None
        return code

    def keep_running(self) -> None:
        """Look after the process: after a death plan its restart, and restart it when that is due. Never waits."""
        code = self.ended()
        if code is not None:
            self._plan_restart(exit_code=code)
        elif self._process is None and self._clock() >= self._restart_at:
            self.start()

    def _plan_restart(self, **reason: int | str) -> None:
        now = self._clock()
        long_lived = now - self._started_at >= HEALTHY_LIFE_SECONDS
        self._delay = FIRST_DELAY_SECONDS if long_lived or not self._delay else self._delay * 2
        self._delay = min(self._delay, LONGEST_DELAY_SECONDS)
        self._restart_at = now + self._delay
        log.warning("child ended", child=self.name, restart_in_seconds=self._delay, **reason)

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process:
            self._process.terminate()

    def kill(self) -> None:
        """End the process and its whole session at once."""
        if self._process:
            log.warning("child killed", child=self.name, pid=self._process.pid)
            kill_session(self._process.pid)
            self._process.wait()
            self._process = None


def end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For Popen's preexec_fn: the child gets this signal when its parent dies, even by kill -9, and blocks none."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return prepare


def kill_session(session: int) -> None:
    """SIGKILL every process of a session, until none is left."""
    deadline = time.monotonic() + KILL_SECONDS
    while (members := session_members(session)) and time.monotonic() < deadline:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself in between
        time.sleep(0.005)


def session_members(session: int) -> list[int]:
    """List the processes of a session that still run.

    Process groups would not do: a pool may put itself in a new one.
    """
    members = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # The name in parentheses may hold anything; after it: state, parent, process group, session.
            state, _, _, found = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we were looking
        if int(found) == session and state not in "ZX":
            members.append(int(folder.name))
    return members
