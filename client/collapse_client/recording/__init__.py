"""Recording the features of a model while it is trained: `Recorder`, and `push` for what it left on disk.

    recorder.py      what a training loop sees
    selection.py     which modules are recorded, by name or pattern
    capture.py       forward hooks: what the layers make of a batch, and the weights applied to it
    samples.py, accumulation.py    the two modes: features gathered to parts, or their moments
    ranks.py         several processes of one training
    spool.py         a step on disk: a folder that appears whole
    sending.py       from that folder to the service; outbox.py does so in the background, pushing.py on command

Nothing here may end or slow down a training: what goes wrong is a RecordingWarning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collapse_client.errors import MissingLibrary
from collapse_client.recording.pushing import PushResult, push

if TYPE_CHECKING:
    from collapse_client.recording.recorder import Recorder

__all__ = ["PushResult", "Recorder", "push"]


def __getattr__(name: str) -> Any:
    if name == "Recorder":  # on first use: it needs torch
        try:
            from collapse_client.recording.recorder import Recorder
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingLibrary("torch", extra="moments") from error
        return Recorder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
