"""A one-line progress bar on standard error, silent where that is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType

WIDTH = 40


class Bar:
    """Use as a context manager and call `show`; the line goes when the block ends."""

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, fraction: float, text: str) -> None:
        """Draw the bar anew."""
        full = round(WIDTH * fraction)
        self._write(f"\r\x1b[2K{'█' * full}{'░' * (WIDTH - full)} {fraction:4.0%}  {text}")

    def clear(self) -> None:
        """Make room for a line of output."""
        self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        if sys.stderr.isatty():
            print(text, end="", file=sys.stderr, flush=True)
