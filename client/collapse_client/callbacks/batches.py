"""Batches and class labels as Keras users have them; needs numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from collapse_client.recording.errors import RecordingError

Array = npt.NDArray[Any]


def batches_of(samples: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and labels, batch by batch: of a pair of arrays, or of anything that gives such pairs.

    The inputs may be a list or a dict of arrays. What gives batches may be a tf.data.Dataset, a PyDataset or a
    DataLoader; what follows the labels, such as sample weights, is left aside.

    >>> pairs = batches_of((np.arange(5), np.array([0, 1, 0, 1, 0])), batch_size=4)
    >>> [(x.tolist(), y.tolist()) for x, y in pairs]
    [([0, 1, 2, 3], [0, 1, 0, 1]), ([4], [0])]
    """
    if isinstance(samples, tuple) and len(samples) >= 2 and hasattr(samples[1], "shape"):
        inputs, labels = samples[0], np.asarray(samples[1])
        for start in range(0, len(labels), batch_size):
            piece = slice(start, start + batch_size)
            yield _piece(inputs, piece), labels[piece]
        return
    for batch in _iterated(samples):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise RecordingError("A batch must be (inputs, labels), and may have more after them.")
        yield batch[0], batch[1]


def _piece(inputs: Any, piece: slice) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _piece(value, piece) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return [_piece(value, piece) for value in inputs]
    return inputs[piece]


def _iterated(samples: Any) -> Iterable[Any]:
    """A PyDataset has a length and items; to iterate over it in the old way would never end where it gives no error."""
    if hasattr(samples, "__iter__"):
        return samples  # type: ignore[no-any-return]  # asked above
    return (samples[index] for index in range(len(samples)))


def class_labels(labels: Array) -> Array:
    """Return the class of each sample, (n,) integers, of labels as losses take them.

    Integers, also as floats, of shape (n,) or (n, 1), or one-hot rows. Raises RecordingError for others.

    >>> class_labels(np.array([[2.0], [0.0]])).tolist(), class_labels(np.eye(3)[[2, 0]]).tolist()
    ([2, 0], [2, 0])
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and ((labels == 1).sum(axis=1) == 1).all() and ((labels == 0) | (labels == 1)).all():
        return np.asarray(labels.argmax(axis=1))
    whole = labels.astype(np.int64)
    if labels.ndim != 1 or not (whole == labels).all():
        raise RecordingError(
            f"Labels of shape {labels.shape}, {labels.dtype}, are no classes: give an integer for each sample, or "
            "one-hot rows."
        )
    return whole
