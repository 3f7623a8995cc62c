"""Features mode: batches are gathered to parts of some megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import torch
from torch import Tensor

from collapse_client.format.writer import named, write_tensors
from collapse_client.recording.applied import Applied
from collapse_client.recording.ranks import Ranks
from collapse_client.recording.spool import Manifest
from collapse_client.recording.step_writer import StepWriter, WritePart

Batch = tuple[Mapping[str, Tensor], Tensor]
"""Rows by layer, and their labels, of which the negative ones stand for no class."""

Submit = Callable[..., None]
"""Has something done in the thread that writes, which holds so many bytes: `Outbox.write`."""


class FeaturesStep:
    """The samples of one step, in parts; every rank writes its own, and the first takes them all over."""

    def __init__(
        self,
        writer: StepWriter,
        submit: Submit,
        *,
        has_room: Callable[[], bool],
        part_bytes: int,
        devices: Iterable[torch.device],
    ) -> None:
        self._writer, self._submit, self._has_room = writer, submit, has_room
        self._parts = SampleParts(part_bytes=part_bytes, emit=self._emit, devices=devices)

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch whose memory nobody else writes to."""
        self._parts.add(features, labels)

    def finish(self, applied: Applied, ranks: Ranks, manifest: Manifest) -> None:
        """Have the step written, and sent by the first rank."""
        self._parts.finish(applied)
        writer = self._writer
        receiver, *others = ranks.exchange(None if writer.failed else str(writer.folder))
        if ranks.receives:
            self._submit(lambda: writer.finish(manifest, [Path(other) for other in others if other]))
        else:
            self._submit(writer.abandon if receiver is None else writer.hand_over)

    def _emit(self, write_part: WritePart, size: int) -> None:
        if not self._writer.failed and not self._has_room():
            self._writer.failed = True
        if not self._writer.failed:
            self._submit(lambda: self._writer.write(write_part), size)


class SampleParts:
    """Batches until they are `part_bytes` together; then `emit` gets what writes a part of them, and its size.

    Whoever calls that also waits for the copies that have been begun from `devices`.
    """

    def __init__(
        self, *, part_bytes: int, emit: Callable[[WritePart, int], None], devices: Iterable[torch.device] = ()
    ) -> None:
        self._part_bytes, self._emit, self._devices = part_bytes, emit, devices
        self._batches: list[Batch] = []
        self._bytes = 0

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch whose memory nobody else writes to."""
        size = sum(value.numel() * value.element_size() for value in features.values())
        if self._batches and self._bytes + size > self._part_bytes:
            self._emit(*self._part(Applied()))
        self._batches.append((features, labels))
        self._bytes += size

    def finish(self, applied: Applied) -> None:
        """Emit the last part, in which the weights and biases are, if there is anything."""
        if self._batches:
            self._emit(*self._part(applied))

    def _part(self, applied: Applied) -> tuple[WritePart, int]:
        batches, size, self._batches, self._bytes = self._batches, self._bytes, [], 0
        copied = [torch.cuda.current_stream(device).record_event() for device in self._devices]

        def write(path: Path) -> bool:
            for event in copied:
                event.synchronize()
            tensors = together(batches)
            if tensors:
                write_tensors(path, {**tensors, **named(weights=applied.weights, biases=applied.biases)})
            return bool(tensors)

        return write, size


def together(batches: Sequence[Batch]) -> dict[str, Any]:
    """Return `labels` and `features.<layer>` of those samples of the batches that have a class; empty without any.

    >>> together([({"a": torch.tensor([[1.0], [2.0]])}, torch.tensor([-1, 3]))])
    {'labels': tensor([3]), 'features.a': tensor([[2.]])}
    """
    labels = torch.cat([of_batch.cpu() for _, of_batch in batches])
    known = labels >= 0
    if not bool(known.any()):
        return {}
    values = {layer: torch.cat([features[layer] for features, _ in batches]) for layer in batches[0][0]}
    kept = values if bool(known.all()) else {layer: value[known] for layer, value in values.items()}
    return {"labels": labels[known], **named(features=kept)}
