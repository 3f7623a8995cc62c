"""Writing a moments file, as safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.tensors import Array
from collapse_client.format.writer import named, write_tensors


def write_moments(
    path: str | os.PathLike[str],
    *,
    classes: Any,
    moments: Mapping[str, Any],
    weights: Mapping[str, Any] | None = None,
    biases: Mapping[str, Any] | None = None,
    ood: Mapping[str, Any] | None = None,
    projected_scatter: Mapping[str, Any] | None = None,
) -> None:
    """Write what `collapse_client.format.moments.Moments` has accumulated, by layer, in place of the samples.

    `classes` (K,): the label of each row of the moments; classes without samples are left out of the file.
    `projected_scatter` (K, K) by layer: `ProjectedScatter(…).matrix()`. The order of `moments` is the order of the
    layers. The file appears whole or not at all. Raises InvalidFeatures when the tensors do not fit each other.

        write_moments("step10.safetensors", classes=range(10), moments={"layer1": hidden, "layer2": output})
    """
    counts = _same_counts(moments)
    tensors: dict[str, Any] = {"classes": _of_seen("classes", classes, counts), "counts": counts[counts != 0]}
    for layer, of_layer in moments.items():
        # Relative to the shift, as they are kept: their sum has lost the digits that an offset costs.
        for kind, value in (("means", of_layer.offsets), ("shift", of_layer.shift), ("scatter", of_layer.scatter)):
            tensors[f"{kind}.{layer}"] = _of_seen(f"{kind}.{layer}", value, counts)
        if of_layer.scatter_matrix is not None:
            tensors[f"scatter_matrix.{layer}"] = of_layer.scatter_matrix
    for name, value in named(projected_scatter=projected_scatter).items():
        of_seen = _of_seen(name, value, counts, axes=2)
        tensors[name] = of_seen if counts.all() else _recentred(of_seen)
    write_tensors(path, {**tensors, **named(weights=weights, biases=biases, ood=ood)})


def _same_counts(moments: Mapping[str, Any]) -> Array:
    """Samples of each class, which every layer must have seen."""
    if not moments:
        raise InvalidFeatures("There are no moments: give those of at least one layer.", tensor="counts")
    by_layer = {layer: _array(of_layer.counts) for layer, of_layer in moments.items()}
    first = next(iter(by_layer))
    for layer, counts in by_layer.items():
        if not np.array_equal(counts, by_layer[first]):
            raise InvalidFeatures(
                f"The layers {shown(first)} and {shown(layer)} have seen other samples: "
                "update the moments of every layer with the same batches.",
                tensor="counts",
            )
    return by_layer[first]


def _of_seen(name: str, value: Any, counts: Array, *, axes: int = 1) -> Array:
    """Return the rows, and with two axes the columns too, of the classes that have samples."""
    array = _array(value)
    if array.shape[:axes] != counts.shape * axes:
        raise InvalidFeatures(
            f"Tensor {shown(name)} has the shape {list(array.shape)}, counts {list(counts.shape)}: "
            "send one row per class.",
            tensor=name,
        )
    seen = np.flatnonzero(counts)
    return array[seen] if axes == 1 else array[np.ix_(seen, seen)]


def _recentred(projected: Array) -> Array:
    """Take the mean of the classes that are left out of what the scatter is projected on: M̄ is centred on the others.

    M̄ without some rows, centred again, is what it would have been without those classes.
    """
    half: Array = projected - projected.mean(axis=0)
    centred: Array = half - half.mean(axis=1, keepdims=True)
    symmetric: Array = (centred + centred.T) / 2
    return symmetric


def _array(value: Any) -> Array:
    """Torch is told by what it can do, so that it need not be installed."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
