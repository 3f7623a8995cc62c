"""What a set of features holds: read once, tile by tile, in flat memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collapse_client.format.errors import InvalidFeatures, shown

if TYPE_CHECKING:
    from collapse_client.format.features import FeatureFile

MAX_CLASSES = 10_000
CHUNK_ITEMS = 2**19  # 4 MiB of float64


@dataclass(frozen=True)
class LayerInfo:
    """One layer: `dim` numbers per sample once the trailing axes are flattened."""

    name: str
    dim: int
    dtype: str
    weights_shape: tuple[int, int] | None


@dataclass(frozen=True)
class FeaturesDescription:
    """Samples, samples per class (class index → count, ascending) and layers in order."""

    num_samples: int
    class_counts: dict[int, int]
    layers: tuple[LayerInfo, ...]

    @property
    def num_classes(self) -> int:
        """Number of distinct labels."""
        return len(self.class_counts)


def describe(file: FeatureFile) -> FeaturesDescription:
    """Read every tensor once in memory that does not grow with the file.

    Raises InvalidFeatures with tensor and first bad row (0-based) for a negative label, NaN or infinity; UnsafeFile
    when the data turns out to be broken.
    """
    class_counts: Counter[int] = Counter()
    for labels in file.label_tiles(CHUNK_ITEMS):
        classes, counts = np.unique(labels, return_counts=True)
        for index, label in enumerate(classes.tolist()):
            class_counts[label] += int(counts[index])
        _check_class_count(class_counts)
    for name in file.tensors:
        if name != "labels":
            _check_finite(file, name)
    return FeaturesDescription(
        file.num_samples, dict(sorted(class_counts.items())), tuple(_layer_info(file, layer) for layer in file.layers)
    )


def merge_descriptions(parts: Sequence[FeaturesDescription]) -> FeaturesDescription:
    """Describe the whole of parts with the same layers; their order is that of the first part.

    Raises InvalidFeatures when layers, dims or dtypes differ, or the weights of a layer come in two parts.
    """
    if not parts:
        raise InvalidFeatures("The set has no parts: send at least one before it is completed.")
    class_counts: Counter[int] = Counter()
    for part in parts:
        class_counts.update(part.class_counts)
        _check_class_count(class_counts)
    by_name = [{layer.name: layer for layer in part.layers} for part in parts]
    for layers in by_name:
        _check_same_tensors(by_name[0], layers)
    return FeaturesDescription(
        sum(part.num_samples for part in parts),
        dict(sorted(class_counts.items())),
        tuple(_merge_layer([layers[layer.name] for layers in by_name]) for layer in parts[0].layers),
    )


def check_complete(description: FeaturesDescription) -> None:
    """Raise InvalidFeatures unless there are two samples and two classes, the least that can collapse."""
    if description.num_samples < 2:
        raise InvalidFeatures("There is 1 sample, at least 2 are needed: send more samples.", tensor="labels")
    if description.num_classes < 2:
        only = next(iter(description.class_counts))
        raise InvalidFeatures(
            f"All samples have label {only}, at least 2 classes are needed: send samples of other classes too.",
            tensor="labels",
        )


def _layer_info(file: FeatureFile, layer: str) -> LayerInfo:
    features, weights = file.tensors[f"features.{layer}"], file.tensors.get(f"weights.{layer}")
    weights_shape = None if weights is None else (weights.shape[0], weights.shape[1])
    return LayerInfo(layer, features.row_size, features.dtype, weights_shape)


def _check_class_count(class_counts: Mapping[int, int]) -> None:
    if len(class_counts) > MAX_CLASSES:
        raise InvalidFeatures(
            f"Tensor 'labels' has more than {MAX_CLASSES} distinct values: are these class indices?", tensor="labels"
        )


def _check_finite(file: FeatureFile, name: str) -> None:
    first_bad_row, position = None, 0
    for chunk in file.chunks(name, CHUNK_ITEMS):
        finite = np.isfinite(chunk)
        if not finite.all():
            row = file.first_row(name, position + np.flatnonzero(~finite))
            first_bad_row = row if first_bad_row is None else min(row, first_bad_row)
        position += len(chunk)
    if first_bad_row is not None:
        raise InvalidFeatures(
            f"Tensor {shown(name)} has NaN or infinity, first in row {first_bad_row} (counted from 0): "
            "leave such samples out, or look for the step at which training diverged.",
            tensor=name,
        )


def _check_same_tensors(first: Mapping[str, LayerInfo], other: Mapping[str, LayerInfo]) -> None:
    for name in [*first, *other]:
        ours, theirs = _signature(first.get(name)), _signature(other.get(name))
        if ours != theirs:
            raise InvalidFeatures(
                f"'features.{name}' is {theirs} in one part, {ours} in another: send the same tensors in every part.",
                tensor=f"features.{name}",
            )


def _signature(layer: LayerInfo | None) -> str:
    return "missing" if layer is None else f"(N, {layer.dim}) {layer.dtype}"


def _merge_layer(parts: Sequence[LayerInfo]) -> LayerInfo:
    """One layer of all parts, with the weights of the one part that brings them."""
    with_weights = [index for index, part in enumerate(parts) if part.weights_shape is not None]
    if len(with_weights) > 1:
        name = f"weights.{parts[0].name}"
        raise InvalidFeatures(
            f"Tensor {shown(name)} comes in parts {with_weights[0]} and {with_weights[1]}: send it in one part only.",
            tensor=name,
        )
    return parts[with_weights[0]] if with_weights else parts[0]
