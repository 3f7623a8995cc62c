"""The supervisor: starts the children, keeps them running, says when they are ready, and ends them in order."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from server.children import Child

TICK_SECONDS = 0.2
GRACE_SECONDS = 10.0
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
WATCHED = STOP_SIGNALS | {signal.SIGCHLD}

log = structlog.get_logger("server")


class Supervisor:
    """One thread, no signal handlers: signals are blocked and taken up between two rounds.

    `stages` are groups of children in the order in which they stop; they start in the opposite order.
    """

    def __init__(self, stages: Sequence[Sequence[Child]], *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._stages = stages
        self._grace_seconds = grace_seconds

    def run(self, *, is_ready: Callable[[], bool], announcement: str) -> None:
        """Run until SIGTERM or SIGINT; the announcement is printed once, when the service is ready."""
        children = [child for stage in reversed(self._stages) for child in stage]
        announced = False
        try:
            for child in children:
                child.start()
            while not stop_requested(TICK_SECONDS):
                for child in children:
                    child.keep_running()
                if not announced and is_ready():
                    announced = True
                    print(announcement, flush=True)
            log.info("stopping")
        finally:
            self._stop()

    def _stop(self) -> None:
        hurry = False
        for stage in self._stages:
            for child in stage:
                child.terminate()
            hurry = not _wait_for_end(stage, 0.0 if hurry else self._grace_seconds) or hurry
            for child in stage:
                child.kill()


def _wait_for_end(children: Sequence[Child], seconds: float) -> bool:
    """Wait until all have ended; False if a second signal asks to hurry."""
    deadline = time.monotonic() + seconds
    while any(child.ended() is None and child.pid for child in children):
        left = deadline - time.monotonic()
        if left <= 0:
            return True
        if stop_requested(min(left, TICK_SECONDS)):
            return False
    return True


def run_to_end(child: Child) -> int | None:
    """Run a child once and give its exit code; None if SIGTERM or SIGINT came first, which ends it."""
    child.start()
    try:
        while child.pid:
            code = child.ended()
            if code is not None:
                return code
            if stop_requested(TICK_SECONDS):
                return None
    finally:
        child.kill()
    return 1  # it could not be started: the log says why


def stop_requested(seconds: float) -> bool:
    """Wait for a signal, at most so long; whether it asks to stop."""
    received = signal.sigtimedwait(WATCHED, seconds)
    return received is not None and received.si_signo in STOP_SIGNALS


@contextmanager
def signals_taken_up_later() -> Iterator[None]:
    """Block the signals that the supervisor watches."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
