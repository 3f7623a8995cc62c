"""How long a training may be made to wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Allowance:
    """A share of the time since a step began, of which `wait` tells how much is left, and takes what is used.

    >>> allowance = Allowance(0.0)
    >>> with allowance.wait() as seconds:
    ...     seconds
    0.0
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._began = time.monotonic()
        self._waited = self._waited_before = 0.0

    @property
    def waited_seconds(self) -> float:
        """What was used, since the first step."""
        return self._waited_before + self._waited

    def begin(self) -> None:
        """Count from here."""
        self._waited_before += self._waited
        self._began, self._waited = time.monotonic(), 0.0

    @contextlib.contextmanager
    def wait(self) -> Iterator[float]:
        """Give the seconds that may be waited for in this block."""
        started = time.monotonic()
        yield max(0.0, self._share * (started - self._began) - self._waited)
        self._waited += time.monotonic() - started
