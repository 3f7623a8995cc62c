"""Which modules of a model are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from collapse_client.recording.errors import RecordingError

COMPILED = "_orig_mod"
"""What torch.compile calls the module that it wraps."""


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every module that computes something, by the name that it has in the model itself.

    The names that torch.compile, DataParallel and DistributedDataParallel put before it are left out. A module with
    several names has the first.

    >>> list(named_layers(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))))
    ['0', '1', '1.0']
    """
    found: dict[str, nn.Module] = {}
    seen = set()
    for name, module in unwrapped(model).named_modules(remove_duplicate=False):
        clean = ".".join(part for part in name.split(".") if part != COMPILED)
        # Lists and dictionaries of modules have no forward of their own, and so no output.
        computes = type(module).forward is not nn.Module.forward
        inner = getattr(module, COMPILED, module)
        if clean and computes and clean not in found and id(inner) not in seen:
            found[clean] = inner
            seen.add(id(inner))
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
                raise RecordingError(
                    "DataParallel runs copies of the model on several devices at once, whose batches come in any "
                    "order: use DistributedDataParallel, with a Recorder on every rank."
                )
            model = model.module
        elif isinstance(inner := getattr(model, COMPILED, None), nn.Module):
            model = inner
        else:
            return model


def select(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules whose names match one of the patterns (as in a shell), in the order of the model.

    Raises RecordingError, with the names that there are, for a pattern without a match.

    >>> list(select(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), ["2", "[01]"]))
    ['0', '1', '2']
    """
    if isinstance(patterns, str):
        raise RecordingError(f"layers must be a list of names or patterns, such as [{patterns!r}]")
    layers = named_layers(model)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise RecordingError(f"No layer matches {pattern!r}; there are: {', '.join(layers)}")
    selected = {
        name: module for name, module in layers.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not selected:
        raise RecordingError(f"layers is empty: give names or patterns of {', '.join(layers)}")
    return selected
