"""A Recorder whose steps begin and end in different calls, and from which nothing is ever raised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Callable, Optional

from collapse_client.recording.errors import RecordingError, Troubles
from collapse_client.recording.evaluation import LABELS
from collapse_client.recording.recorder import Recorder


class Session:
    """The recording of one training: what a callback asks of the Recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._step: Optional[ExitStack] = None
        self._troubles = Troubles()

    @property
    def recording(self) -> bool:
        """Whether a step is being recorded."""
        return self._step is not None

    def begin(self, step: int) -> None:
        """Record the batches from here on."""
        stack = ExitStack()
        self._guarded(lambda: stack.enter_context(self.recorder.step(step)))
        self._step = stack

    def labels(self, take: Callable[[Any], Any], batch: Any) -> None:
        """Give the labels of the batch that has just been through the model."""
        if self.recording:
            self._guarded(lambda: self.recorder.labels(take(batch)))

    def end(self) -> None:
        """Send what was recorded."""
        if self._step is not None:
            stack, self._step = self._step, None
            self._guarded(stack.close)

    def record(self, loader: Iterable[Any], step: int) -> None:
        """Record a pass of its own over a loader."""
        self._guarded(lambda: self.recorder.record(loader, step=step))

    def close(self, error: Optional[BaseException] = None) -> None:
        """End the recording; what an error has cut short is not sent."""
        if self._step is not None:
            stack, self._step = self._step, None
            failure = error or RuntimeError("the training ended within a step")
            traceback: Optional[TracebackType] = failure.__traceback__
            self._guarded(lambda: stack.__exit__(type(failure), failure, traceback))
        self._guarded(self.recorder.close)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._troubles.tell(type(error).__name__, f"Nothing is recorded here; training goes on. {error!r}")


def labels_of(batch: Any) -> Any:
    """Return the labels of a batch: the last of (input, …, labels), or an entry of a dict that is called so.

    >>> labels_of(([[1.0]], [3])), labels_of({"input_ids": [[1]], "labels": [3]})
    ([3], [3])
    """
    if isinstance(batch, Mapping):
        key = next((name for name in LABELS if name in batch), None)
        if key is not None:
            return batch[key]
    elif isinstance(batch, Sequence) and len(batch) >= 2:
        return batch[-1]
    raise RecordingError("A batch has no labels where they are looked for: give `labels`, a function of the batch.")
