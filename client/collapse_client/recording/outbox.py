"""The background of a Recorder: a thread that writes steps to the spool, and one that sends them."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Callable

from collapse_client.client import Client
from collapse_client.errors import ServiceError, ServiceUnreachable
from collapse_client.recording.errors import Troubles
from collapse_client.recording.sending import REFUSALS, send_step
from collapse_client.recording.spool import Manifest, delete_step, lock_of, parts_of

MOST_BYTES = 128 * 2**20
"""Of parts that may be in memory, waiting to be written."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 30.0, 0.25
"""Between two attempts to send: after the first failure, after many, and while the Recorder is being closed."""
END_SECONDS = 5.0
"""For the writing thread to end, which has nothing left to write."""


class Outbox:
    """Runs tasks that write, sends the finished steps that come of them, oldest first, until each is accepted.

    Whatever goes wrong is told through `troubles`. The threads are daemons: they never keep a process alive.
    """

    def __init__(self, client: Client, spool: Path, *, keep_refused: bool, troubles: Troubles) -> None:
        self.jobs: dict[int, str] = {}
        self._client, self._spool, self._keep_refused, self._troubles = client, spool, keep_refused, troubles
        self._changed = threading.Condition()
        self._tasks: deque[tuple[Callable[[], Path | None], int]] = deque()
        self._steps: deque[tuple[Path, int]] = deque()
        self._failures = 0
        self._closing = self._stopped = False
        self._writer: threading.Thread | None = None

    def write(self, task: Callable[[], Path | None], size: int = 0) -> None:
        """Have a task done that holds `size` bytes; the folder that it gives, if any, is sent."""
        with self._changed:
            self._tasks.append((task, size))
            self._changed.notify_all()
            self._start()

    def wait_in_memory(self, timeout: float) -> bool:
        """Wait until there is room for another part; False if that does not come about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(size for _, size in self._tasks) < MOST_BYTES, timeout)

    def waiting_bytes(self) -> int:
        """Size of the steps that wait to be sent."""
        return sum(size for _, size in self._steps)

    def wait_below(self, limit: int, timeout: float) -> bool:
        """Wait until less than `limit` bytes are left to send; False if that does not come about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.waiting_bytes() < limit, timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is sent; False if that does not come about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks and not self._steps, timeout)

    def close(self, timeout: float) -> None:
        """Try for so many seconds to send what is left; leave the rest on disk, and say how to send it."""
        with self._changed:
            if self._stopped:
                return
            self._closing = True
            self._changed.notify_all()
        try:
            self.flush(timeout)
        finally:  # also when somebody has no patience and presses Ctrl-C
            self._stop()

    def _stop(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._tasks, LONGEST_PAUSE_SECONDS)  # what is on disk is not lost
            self._stopped = True
            self._changed.notify_all()
            left = len(self._steps)
        if self._writer is not None:  # a thread that frees tensors while the interpreter ends takes the process along
            self._writer.join(END_SECONDS)
        if left:
            self._troubles.tell(
                "left",
                f"{left} recorded step{'s' if left > 1 else ''} could not be sent in time. To send later: "
                f"collapse push {self._spool}",
            )
        if self._writer is None:
            self._client.close()

    def _start(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_loop, name="collapse_write", daemon=True)
            self._writer.start()
            threading.Thread(target=self._send_loop, name="collapse_send", daemon=True).start()

    def _write_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._stopped)
                if not self._tasks:
                    return
                task, _ = self._tasks[0]
            folder = task()
            del task  # holds tensors, which a daemon thread must not be freeing while the interpreter ends
            size = 0 if folder is None else sum(part.stat().st_size for part in parts_of(folder))
            with self._changed:
                self._tasks.popleft()
                if folder is not None:
                    self._steps.append((folder, size))
                self._changed.notify_all()

    def _send_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._steps or self._stopped)
                if self._stopped:
                    break
                folder, _ = self._steps[0]
            pause = self._attempt(folder)
            with self._changed:
                if pause is None:
                    self._steps.popleft()
                    self._failures = 0
                    self._changed.notify_all()
                else:
                    self._failures += 1
                    self._rest(pause)
        self._client.close()

    def _rest(self, pause: float) -> None:
        """Wait until the next attempt; not so long when the Recorder is closed meanwhile."""
        if not self._closing:
            self._changed.wait_for(lambda: self._closing or self._stopped, pause)
        else:
            self._changed.wait_for(lambda: self._stopped, min(pause, LAST_PAUSE_SECONDS))

    def _attempt(self, folder: Path) -> float | None:
        """Send a step; the seconds until the next attempt, None when it is done with."""
        pause = min(FIRST_PAUSE_SECONDS * 2.0**self._failures, LONGEST_PAUSE_SECONDS)
        try:
            with lock_of(folder) as locked:
                if locked:
                    step = Manifest.read(folder).step
                    self.jobs[step] = send_step(self._client, folder)
                elif folder.exists():  # `collapse push` is at work on it
                    return pause
        except ServiceUnreachable as error:
            self._tell("unreachable", f"{error} Recorded steps wait in {self._spool}; training goes on.")
            return pause
        except ServiceError as error:
            if error.status in REFUSALS:
                self._refuse(folder, error)
                return None
            self._tell(
                f"status {error.status}",
                f"The service answers {error.status} ({error.detail}) Recorded steps wait in {self._spool}; "
                "training goes on.",
            )
            return max(pause, error.retry_after_seconds or 0.0)
        except Exception as error:
            self._tell("sending", f"A recorded step cannot be sent ({error}): it stays in {folder}.")
        return None

    def _tell(self, kind: str, text: str) -> None:
        """Tell of a step that stays on disk; not once the Recorder is closed, which has told of all that are left."""
        with self._changed:
            if not self._stopped:
                self._troubles.tell(kind, text)

    def _refuse(self, folder: Path, error: ServiceError) -> None:
        advice = " Give the Recorder a smaller part_bytes, or record fewer layers." if error.status == 413 else ""
        kept = f"it stays in {folder}" if self._keep_refused else "it is lost"
        self._troubles.tell(
            f"refused {error.code}", f"The service refuses a recorded step: {error.detail}{advice} ({kept}.)"
        )
        if not self._keep_refused:
            delete_step(folder)
