"""Writing one step to the spool, in the thread of the outbox that writes."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from collapse_client.recording.errors import Troubles
from collapse_client.recording.spool import PARTIAL, Manifest, finish_step, part_path, parts_of

WritePart = Callable[[Path], bool]
"""Writes one file, in another thread; gives whether there was anything to write."""

OF_RANK = ".rank"
"""The suffix of a folder whose parts rank 0 is to take over."""
OTHERS_SECONDS = 60.0
POLL_SECONDS = 0.02


class StepWriter:
    """One step while it is written; after a failure it does nothing more, and `failed` is true."""

    def __init__(self, spool: Path, troubles: Troubles) -> None:
        self.folder = spool / f"{time.time_ns()}-{secrets.token_hex(4)}{PARTIAL}"
        self.failed = False
        self._troubles = troubles
        self._num_parts = 0

    def write(self, write_part: WritePart) -> None:
        """Write the next part."""
        if self.failed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._num_parts += write_part(part_path(self.folder, self._num_parts))
        except Exception as error:
            self._fail(error)

    def finish(self, manifest: Manifest, others: Sequence[Path] = ()) -> Path | None:
        """Take over the parts of other ranks, and make it a finished step; None where there is nothing to send."""
        try:
            for other in others:
                self._take_over(other)
            if self._num_parts and not self.failed:
                return finish_step(self.folder, manifest)
        except Exception as error:
            self._fail(error)
        self.abandon()
        return None

    def hand_over(self) -> None:
        """Leave the parts, if only none, to rank 0."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.rename(self.folder.with_suffix(OF_RANK))
        except Exception as error:
            self._fail(error)

    def abandon(self) -> None:
        """Remove what has been written, and write no more."""
        self.failed = True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_over(self, other: Path) -> None:
        ready = other.with_suffix(OF_RANK)
        deadline = time.monotonic() + OTHERS_SECONDS
        while not ready.exists() and other.parent.exists() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if not ready.exists():
            self._troubles.tell(
                "shared folder",
                f"{ready} cannot be seen from rank 0: what that rank recorded is left out. Give all ranks a spool "
                "on a file system that they share, or use mode='moments'.",
            )
        elif not self.failed:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in parts_of(ready):
                # By copying where that rank writes to another file system.
                shutil.move(os.fspath(part), os.fspath(part_path(self.folder, self._num_parts)))
                self._num_parts += 1
        shutil.rmtree(ready, ignore_errors=True)

    def _fail(self, error: Exception) -> None:
        self.abandon()
        self._troubles.tell("writing", f"A step could not be written to {self.folder.parent} ({error}): it is lost.")
