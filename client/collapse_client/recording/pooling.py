"""From what a module gives to one row of features for each sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Callable, Union

from torch import Tensor, nn

from collapse_client.recording.errors import RecordingError

Pool = Callable[[Tensor], Tensor]


def pooling(pool: Union[str, Pool], model: nn.Module) -> Pool:
    """Return the function that "flatten", "mean" or your own function stands for.

    "flatten" keeps everything. "mean" takes the mean over the axes of space or time: over all from the third on of
    (batch, channels, height, width) and of (batch, channels, length); over the second of (batch, time, dim). Three axes
    are (batch, channels, length) if the model has a Conv1d, else (batch, time, dim).
    """
    if callable(pool):
        return pool
    if pool == "flatten":
        return _as_it_is
    if pool == "mean":
        one_dimensional = any(isinstance(module, nn.Conv1d) for module in model.modules())
        return _mean_of_channels if one_dimensional else _mean_over_time
    raise RecordingError(f"pool must be 'flatten', 'mean' or a function of a tensor, not {pool!r}")


def _as_it_is(features: Tensor) -> Tensor:
    return features  # the trailing axes are flattened once it is known how many axes the labels have


def _mean_of_channels(features: Tensor) -> Tensor:
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def _mean_over_time(features: Tensor) -> Tensor:
    return features.mean(1) if features.ndim == 3 else _mean_of_channels(features)


def first_tensor(value: object) -> Tensor | None:
    """Return the first floating tensor of two axes or more: of a tuple, list or dict in its order, at any depth."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2:
        return value  # as almost always
    return next(_tensors(value), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.ndim >= 2:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def rows(features: Tensor, labels: Tensor, layer: str) -> Tensor:
    """Return one row for each label: labels (N,) and features (N, …), or labels (N, T) and features (N, T, …).

    Raises RecordingError where they do not fit.
    """
    if features.shape[: labels.ndim] != labels.shape:
        raise RecordingError(
            f"{layer} has features of shape {tuple(features.shape)}, the labels are {tuple(labels.shape)}: give one "
            "label for each sample of the last forward pass (for each position, with pool='flatten', if they have a "
            "time axis)."
        )
    if features.ndim == 2 and labels.ndim == 1:
        return features  # as almost always
    by_label = features.flatten(0, labels.ndim - 1) if labels.ndim > 1 else features
    return by_label.flatten(1) if by_label.ndim > 1 else by_label[:, None]
