"""Layers: their names, and the order in which a report lists them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from collapse_client.format.errors import InvalidFeatures, shown

MAX_LAYER_NAME = 256
PREFIXES = ("features.", "means.")


def layers_of(tensor_names: Iterable[str]) -> tuple[str, ...]:
    """Names of the layers that have features or means, in the order given.

    >>> layers_of(["labels", "features.b", "features.a", "weights.a"])
    ('b', 'a')
    """
    return tuple(name.partition(".")[2] for name in tensor_names if name.startswith(PREFIXES))


def natural_order(layers: Iterable[str]) -> tuple[str, ...]:
    """Sort with numbers by value.

    >>> natural_order(["layer10", "layer2"])
    ('layer2', 'layer10')
    """

    def key(layer: str) -> tuple[list[str | int], str]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", layer)], layer

    return tuple(sorted(layers, key=key))


def order_layers(found: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return `given`, which must be a permutation of `found`; raises InvalidFeatures naming what is not.

    >>> order_layers(["a", "b"], ["b", "a"])
    ('b', 'a')
    """
    unknown = [layer for layer in given if layer not in set(found)]
    missing = [layer for layer in found if layer not in set(given)]
    repeated = [layer for layer, count in Counter(given).items() if count > 1]
    faults = [
        f"{word} {', '.join(shown(layer) for layer in layers[:10])}"
        for word, layers in (("unknown:", unknown), ("missing:", missing), ("repeated:", repeated))
        if layers
    ]
    if faults:
        raise InvalidFeatures(f"`layers` must name every layer of the features once ({'; '.join(faults)}).")
    return tuple(given)
