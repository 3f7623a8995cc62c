"""One process of the cluster: in a session of its own, with a log, ended by its id together with all it has started."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.children import kill_session

RESTART_SECONDS = 1.0
GRACE_SECONDS = 20.0
LOG_TAIL_BYTES = 2000


class Process:
    """It is ended when we are, even by kill -9: the kernel sends it `last_signal`.

    `stop_signal` asks it to end in order. `options` are those of Popen.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        last_signal: signal.Signals = signal.SIGTERM,
        **options: Any,
    ) -> None:
        self.name, self.log = name, log
        self._command = ["setpriv", "--pdeathsig", last_signal.name.removeprefix("SIG"), *map(str, command)]
        self._environment, self._options = dict(environment), options
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._asked = False

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    def start(self) -> None:
        """Start it, for the first time or again."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **self._options,
            )  # fmt: skip
        self._started_at, self._asked = time.monotonic(), False

    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for its end, at most so long; the exit code."""
        return self._process.wait(seconds) if self._process else 0

    def keep_running(self) -> bool:
        """Start it again if it has ended, once a second at most; whether that was so."""
        if self.running() or time.monotonic() < self._started_at + RESTART_SECONDS:
            return False
        self.kill()
        self.start()
        return True

    def kill(self) -> None:
        """Kill -9, with all that it has started: what the loss of its host is like for the others."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            kill_session(self._process.pid)

    def ask_to_stop(self) -> None:
        """Ask it to end in order, once, without waiting: many take a second signal for haste."""
        if self._process is not None and self.running() and not self._asked:
            self._process.send_signal(self._stop_signal)
            self._asked = True

    def stop(self) -> None:
        """End it in order, by force where that takes too long."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self.kill()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_BYTES:] if self.log.exists() else ""
