"""What can go wrong with a recording, and how it is told.

    CollapseError
    └── RecordingError     the Recorder is asked for something that it cannot do: told at once, before training
        └── SpoolError     a folder does not hold a step as the Recorder writes it

    RecordingWarning       trouble during training: told once for each kind, and training goes on

The text of each says what is wrong and what to do.
"""

from __future__ import annotations

import sys
import threading
import warnings

from collapse_client.errors import CollapseError


class RecordingError(CollapseError):
    """The Recorder is asked for something that it cannot do."""


class SpoolError(RecordingError):
    """A folder does not hold a step as the Recorder writes it."""


class RecordingWarning(UserWarning):
    """A step is not recorded, or not sent, or later; training is not concerned."""


class Troubles:
    """Warnings, one for each kind of trouble. From any thread; never an exception, whatever the filters say."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def tell(self, kind: str, text: str) -> None:
        """Warn, the first time that there is trouble of this kind."""
        with self._lock:
            if kind in self._told:
                return
            self._told.add(kind)
        try:
            warnings.warn(text, RecordingWarning, stacklevel=2)
        except RecordingWarning:  # filters that make errors of warnings must not end a training
            sys.stderr.write(f"collapse: {text}\n")
