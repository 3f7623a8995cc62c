"""Labels, and the forward passes that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from collapse_client.recording.capture import Capture
from collapse_client.recording.errors import RecordingError, Troubles
from collapse_client.recording.pooling import rows


class Gathering(Protocol):
    """What becomes of the batches of a step; each mode has its own."""

    def add(self, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Take in a batch: (n, d) by layer, and (n,)."""


class Pairing:
    """Brings together what `capture` saw and the labels that are given before or after it.

    The first labels of a step tell which: they come before their forward pass if nothing has been seen yet. Labels
    given after belong to the last pass since the labels before them, so that passes without labels do no harm.
    """

    def __init__(self, capture: Capture, gathering: Gathering, *, max_samples: int | None, troubles: Troubles) -> None:
        self.dims: dict[str, int] = {}
        """of the layers that were seen, in the order in which they ran"""
        self._capture, self._gathering = capture, gathering
        self._max_samples, self._troubles = max_samples, troubles
        self._waiting: Tensor | None = None
        self._labels_first: bool | None = None
        self._samples = 0

    def labels(self, labels: object) -> None:
        """Take in the labels of a batch."""
        if self._capture.paused:
            return
        if self._labels_first is None:
            self._labels_first = not self._capture.values
        if self._labels_first:
            self.end()
            self._waiting = as_labels(labels)
        elif self._capture.values:
            self._add(as_labels(labels))
        else:
            self._troubles.tell("labels", "Labels came without a forward pass before them, and are left out.")

    def end(self) -> None:
        """Take in the batch whose labels came first."""
        if self._waiting is not None and self._capture.values:
            self._add(self._waiting)
        self._waiting = None

    def _add(self, labels: Tensor) -> None:
        values = self._capture.take_values()
        self._capture.stop_search()
        by_layer = {layer: rows(value, labels, layer) for layer, value in values.items()}
        dims = {layer: value.shape[1] for layer, value in by_layer.items()}
        self.dims = self.dims or dims
        if dims.keys() != self.dims.keys():
            self._troubles.tell("layers", "A forward pass that did not run every layer is left out.")
            return
        for layer, dim in dims.items():
            if dim != self.dims[layer]:
                raise RecordingError(
                    f"{layer} has {self.dims[layer]} features in one batch and {dim} in another: use pool='mean'."
                )
        self._gathering.add({layer: by_layer[layer] for layer in self.dims}, labels.flatten())
        self._samples += labels.numel()
        self._capture.paused = self._max_samples is not None and self._samples >= self._max_samples


def as_labels(labels: object) -> Tensor:
    """Return integer labels as a tensor of their own; raises RecordingError for others.

    >>> as_labels([1, 0])
    tensor([1, 0])
    """
    given = labels.detach() if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    if given.is_floating_point() or given.is_complex() or not given.ndim:
        raise RecordingError(
            f"The labels are {str(given.dtype).replace('torch.', '')} of shape {tuple(given.shape)}: give the class of "
            "each sample as an integer, such as labels.argmax(1) of one-hot labels."
        )
    return given.to(torch.int64, copy=True)
