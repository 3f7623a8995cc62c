"""The description of a set in parts, made from those of its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from collapse_client.format.description import (
    MAX_SAMPLES,
    FeaturesDescription,
    LayerInfo,
    check_class_count,
    check_split_count,
)
from collapse_client.format.errors import InvalidFeatures, shown


def merge_descriptions(parts: Sequence[FeaturesDescription]) -> FeaturesDescription:
    """Describe the whole of parts, of samples or of moments, with the same layers, in the order of the first part.

    Raises InvalidFeatures when layers or dims differ, dtypes among the parts of one kind, when only some have splits,
    or the weights of a layer come in two parts.
    """
    if not parts:
        raise InvalidFeatures("The set has no parts: send at least one before it is completed.")
    class_counts: Counter[int] = Counter()
    for part in parts:
        class_counts.update(part.class_counts)
        check_class_count(class_counts)
    num_samples = sum(part.num_samples for part in parts)
    if num_samples > MAX_SAMPLES:
        raise InvalidFeatures(f"The parts have {num_samples} samples in total, 2**53 are allowed: send fewer.")
    by_name = [{layer.name: layer for layer in part.layers} for part in parts]
    first_of_kind: dict[bool, Mapping[str, LayerInfo]] = {}
    for layers in by_name:
        same_kind = first_of_kind.setdefault(any(map(_is_samples, layers.values())), layers)
        for first in (by_name[0], same_kind):
            _check_same_tensors(first, layers)
    return FeaturesDescription(
        num_samples,
        dict(sorted(class_counts.items())),
        tuple(_merge_layer([layers[layer.name] for layers in by_name]) for layer in parts[0].layers),
        _merge_splits(parts),
    )


def _merge_splits(parts: Sequence[FeaturesDescription]) -> dict[int, dict[int, int]]:
    without = [index for index, part in enumerate(parts) if not part.split_class_counts]
    if without and len(without) < len(parts):
        other = next(index for index, part in enumerate(parts) if part.split_class_counts)
        raise InvalidFeatures(
            f"Tensor 'split' is in part {other}, and not in part {without[0]}: send it in every part or in none "
            "(moments have none: then send each split as a set of its own).",
            tensor="split",
        )
    merged: dict[int, Counter[int]] = {}
    for part in parts:
        for split, class_counts in part.split_class_counts.items():
            merged.setdefault(split, Counter()).update(class_counts)
        check_split_count(len(merged))
    return {split: dict(sorted(merged[split].items())) for split in sorted(merged)}


def _check_same_tensors(first: Mapping[str, LayerInfo], other: Mapping[str, LayerInfo]) -> None:
    for name in [*first, *other]:
        ours, theirs = first.get(name), other.get(name)
        if ours is None or theirs is None or not _fit(ours, theirs):
            tensor = f"{'features' if _is_samples(ours) or _is_samples(theirs) else 'means'}.{name}"
            raise InvalidFeatures(
                f"{shown(tensor)} is {_signature(theirs)} in one part, {_signature(ours)} in another: "
                "send the same tensors in every part.",
                tensor=tensor,
            )


def _fit(ours: LayerInfo, theirs: LayerInfo) -> bool:
    same_kind = _is_samples(ours) == _is_samples(theirs)
    return ours.dim == theirs.dim and (ours.dtype == theirs.dtype or not same_kind)


def _is_samples(layer: LayerInfo | None) -> bool:
    return layer is not None and layer.second_moments is None


def _signature(layer: LayerInfo | None) -> str:
    if layer is None:
        return "missing"
    return f"({'N' if _is_samples(layer) else 'K'}, {layer.dim}) {layer.dtype}"


def _merge_layer(parts: Sequence[LayerInfo]) -> LayerInfo:
    """One layer of all parts, with the weights of the one part that brings them."""
    with_weights = [index for index, part in enumerate(parts) if part.weights_shape is not None]
    if len(with_weights) > 1:
        name = f"weights.{parts[0].name}"
        raise InvalidFeatures(
            f"Tensor {shown(name)} comes in parts {with_weights[0]} and {with_weights[1]}: send it in one part only.",
            tensor=name,
        )
    return replace(
        parts[0],
        weights_shape=parts[with_weights[0]].weights_shape if with_weights else None,
        ood_samples=sum(part.ood_samples for part in parts),
        second_moments=_merge_second_moments([part.second_moments for part in parts]),
    )


def _merge_second_moments(parts: Sequence[str | None]) -> str | None:
    """What the whole can tell: the least of what its parts can."""
    if len(parts) == 1:
        return parts[0]
    kinds = set(parts)
    if kinds == {None}:
        return None
    # Projections are onto the class means of their own samples, and do not add up.
    return "matrix" if kinds <= {None, "matrix"} else "trace"
