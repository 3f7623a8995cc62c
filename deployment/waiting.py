"""Waiting for what a process does in its own time."""

import time
from collections.abc import Callable

import httpx

from deployment.process import Process

POLL_SECONDS = 0.05
START_SECONDS = 90.0


class NotStarted(Exception):
    """A part of the cluster ended, or did not come up in time; the message has the end of its log."""


def wait_until(condition: Callable[[], bool], what: str, *processes: Process, seconds: float = START_SECONDS) -> None:
    """Return once the condition holds.

    Raises:
        NotStarted: if one of the processes ends first, or it takes too long.

    """
    deadline = time.monotonic() + seconds
    while not condition():
        ended = [process for process in processes if not process.running()]
        if ended or time.monotonic() > deadline:
            words = "\n".join(f"{process.name}: {process.last_words()}" for process in ended or processes)
            raise NotStarted(f"{what} did not happen{'' if ended else f' within {seconds:.0f} s'}.\n{words}")
        time.sleep(POLL_SECONDS)


def answers(address: str) -> bool:
    """Whether a GET is answered, and well."""
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False
