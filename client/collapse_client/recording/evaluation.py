"""A pass over a loader that leaves no trace in the training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from collapse_client.recording.errors import RecordingError

LABELS = ("labels", "label", "targets", "target", "y")
"""Where the labels of a batch are that is a dict."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Put the model in eval mode without gradients, and give its device; put back every mode and the random state."""
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        model.eval()
        try:
            yield device
        finally:
            for module, training in modes:
                module.training = training


def batches_of(loader: Iterable[Any], device: torch.device) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], Any]]:
    """Yield the arguments of the model, positional and by name, and the labels, of every batch, on the device.

    A batch is (input, …, labels), of which the first and the last are taken, or a dict whose other entries are given to
    the model by name. Raises RecordingError for others.
    """
    for batch in loader:
        if isinstance(batch, Mapping):
            key = next((name for name in LABELS if name in batch), None)
            if key is None:
                raise RecordingError(f"A batch has no labels: name them one of {', '.join(LABELS)}; it has {[*batch]}.")
            rest = {name: moved(value, device) for name, value in batch.items() if name != key}
            yield (), rest, batch[key]
        elif isinstance(batch, Sequence) and len(batch) >= 2:
            yield (moved(batch[0], device),), {}, batch[-1]
        else:
            raise RecordingError(f"A batch must be (input, …, labels) or a dict, and is {type(batch).__name__}.")


def moved(value: Any, device: torch.device) -> Any:
    """Return tensors on the device, also those in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    return value
