"""Recording arrays, whatever they were computed with: the same way to the service as the Recorder's, without torch."""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from collapse_client.callbacks.batches import Array
from collapse_client.client import Client
from collapse_client.format.writer import named, write_tensors
from collapse_client.recording.errors import Troubles
from collapse_client.recording.outbox import Outbox
from collapse_client.recording.spool import Manifest
from collapse_client.recording.step_writer import StepWriter

MEBIBYTE = 2**20
PATIENCE_SECONDS = 60.0
"""For how long a part may wait for the disk before its step is left out."""

Batch = tuple[Mapping[str, Array], Array]
"""Features (n, …) by layer, and labels (n,)."""


class ArrayRecorder:
    """Sends steps in the background; trouble is a RecordingWarning. The options are the Recorder's.

    `when_full`, while more than `queue_bytes` wait to be sent: "drop" leaves a step out, "spill" keeps it on disk.
    """

    def __init__(
        self,
        *,
        run: str,
        url: str = "http://127.0.0.1:8000",
        api_key: Optional[str] = None,
        tags: Iterable[str] = (),
        metrics: Optional[Iterable[str]] = None,
        when_full: str = "drop",
        queue_bytes: int = 1024 * MEBIBYTE,
        part_bytes: int = 32 * MEBIBYTE,
        spool: Union[str, os.PathLike[str]] = "collapse-spool",
        timeout: float = 30.0,
        close_timeout: float = 10.0,
    ) -> None:
        self.dropped: list[int] = []
        """Steps that were left out."""
        self.troubles = Troubles()
        self._manifest = partial(
            Manifest, run=run, tags=tuple(tags), metrics=None if metrics is None else tuple(metrics)
        )
        self._spill, self._queue_bytes, self._part_bytes = when_full == "spill", queue_bytes, part_bytes
        self._spool, self._close_timeout = Path(spool).absolute(), close_timeout
        client = Client(url, api_key=api_key, timeout=timeout, retry_seconds=0.0)
        self._outbox = Outbox(client, self._spool, keep_refused=self._spill, troubles=self.troubles)
        atexit.register(self.close)

    @property
    def jobs(self) -> dict[int, str]:
        """The job of each step that the service has accepted."""
        return dict(self._outbox.jobs)

    def record(self, step: int, batches: Iterable[Batch], applied: Callable[[], Mapping[str, Array]]) -> None:
        """Record the batches of a step; `applied` gives, after the last, weights and biases by their names in a file.

        Whatever happens is told as a warning, and the step is left out then.
        """
        if not self._spill and self._outbox.waiting_bytes() >= self._queue_bytes:
            self._leave_out(step, "full", f"{self._queue_bytes / MEBIBYTE:.0f} MiB wait to be sent")
            return
        writer = StepWriter(self._spool, self.troubles)
        try:
            self._write(writer, batches, applied)
            key = secrets.token_hex(16)
            self._outbox.write(lambda: writer.finish(self._manifest(step=step, key=key)))
        except Exception as error:
            self._outbox.write(writer.abandon)
            self._leave_out(step, "error", str(error) or repr(error))

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until everything that was recorded is sent; False if that does not come about in `timeout` seconds."""
        return self._outbox.flush(timeout)

    def close(self) -> None:
        """Send what is left, for at most `close_timeout` seconds; the rest stays in `spool`, for `collapse push`."""
        atexit.unregister(self.close)
        self._outbox.close(self._close_timeout)

    def _write(self, writer: StepWriter, batches: Iterable[Batch], applied: Callable[[], Mapping[str, Array]]) -> None:
        for part, is_last in _with_last(_parts(batches, self._part_bytes)):
            if not self._outbox.wait_in_memory(PATIENCE_SECONDS):
                raise TimeoutError(f"{self._spool} is too slow")
            tensors = {**part, **applied()} if is_last else part
            self._outbox.write(partial(_write_part, writer, tensors))

    def _leave_out(self, step: int, kind: str, why: str) -> None:
        self.dropped.append(step)
        self.troubles.tell(kind, f"Step {step} is not recorded: {why}. Training goes on; `dropped` lists such steps.")


def _write_part(writer: StepWriter, tensors: Mapping[str, Array]) -> None:
    def write(path: Path) -> bool:
        write_tensors(path, tensors)
        return True

    writer.write(write)


def _parts(batches: Iterable[Batch], part_bytes: int) -> Iterator[dict[str, Array]]:
    """Batches put together to files of at most so many bytes, or of one batch."""
    gathered: list[Batch] = []
    size = 0

    def together() -> dict[str, Array]:
        features = {layer: np.concatenate([batch[layer] for batch, _ in gathered]) for layer in gathered[0][0]}
        return {"labels": np.concatenate([labels for _, labels in gathered]), **named(features=features)}

    for features, labels in batches:
        more = sum(values.nbytes for values in features.values())
        if gathered and size + more > part_bytes:
            yield together()
            gathered, size = [], 0
        gathered.append((features, labels))
        size += more
    if gathered:
        yield together()


def _with_last(parts: Iterator[Any]) -> Iterator[tuple[Any, bool]]:
    """Say of each whether it is the last.

    >>> list(_with_last(iter("ab")))
    [('a', False), ('b', True)]
    """
    following = next(parts, None)
    while following is not None:
        current, following = following, next(parts, None)
        yield current, following is None
