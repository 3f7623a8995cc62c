"""What the tensors of every file must be, as far as their names, dtypes and shapes tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.layers import MAX_LAYER_NAME
from collapse_client.format.tensors import FLOATS, INTEGERS, TensorInfo
from collapse_client.format.vocabulary import OF_BOTH, belongs, listed


def fail(info: TensorInfo, detail: str) -> NoReturn:
    """Refuse a tensor, naming it."""
    raise InvalidFeatures(f"Tensor {shown(info.name)} {detail}", tensor=info.name)


def check_names(names: Mapping[str, TensorInfo], vocabulary: Sequence[str]) -> None:
    """Every name is one of the vocabulary, and says which layer it belongs to."""
    for name in names:
        if not belongs(name, vocabulary):
            raise InvalidFeatures(
                f"The tensor name {shown(name)} is not known: allowed are {listed(vocabulary)}.", tensor=name
            )
        _, dot, layer = name.partition(".")
        if dot and not 1 <= len(layer) <= MAX_LAYER_NAME:
            raise InvalidFeatures(
                f"The layer in the tensor name {shown(name)} must have 1 to {MAX_LAYER_NAME} characters.", tensor=name
            )


def check_floats(info: TensorInfo) -> None:
    """Hold the tensor to a floating dtype."""
    if info.dtype not in FLOATS:
        fail(info, f"is {info.dtype}: send one of {', '.join(FLOATS)}.")


def check_integers(info: TensorInfo, *, example: str) -> None:
    """Hold the tensor to an integer dtype; `example` says what to send."""
    if info.dtype not in INTEGERS:
        fail(info, f"must be integers, and is {info.dtype}: send {example}, such as int64.")


def check_beside(tensors: Mapping[str, TensorInfo], *, values: str) -> None:
    """Check weights, biases and ood against `values` ("features" or "means"), which tell the dim of their layer."""
    for kind in OF_BOTH:  # in this order, because biases are compared with their weights
        for info in tensors.values():
            if info.name.startswith(f"{kind}."):
                layer = info.name.partition(".")[2]
                check_floats(info)
                of_layer = tensors.get(f"{values}.{layer}")
                if of_layer is None:
                    fail(info, f"is for a layer without {values}: add `{values}.{layer}`, or leave it out.")
                if kind == "ood":
                    _check_ood(info, of_layer)
                else:
                    _check_classifier(info, of_layer, tensors.get(f"weights.{layer}"))


def _check_ood(info: TensorInfo, of_layer: TensorInfo) -> None:
    if not info.shape or 0 in info.shape or info.row_size != of_layer.row_size:
        fail(
            info,
            f"has the shape {list(info.shape)}, {shown(of_layer.name)} has {of_layer.row_size} numbers in a row: "
            f"send at least one row, each of {of_layer.row_size} numbers, or leave it out.",
        )


def _check_classifier(info: TensorInfo, of_layer: TensorInfo, weights: TensorInfo | None) -> None:
    dim, layer = of_layer.row_size, info.name.partition(".")[2]
    if weights is None:
        fail(info, f"needs the weights that it belongs to: add `weights.{layer}`, or leave it out.")
    if info is weights and (len(info.shape) != 2 or info.shape[0] == 0 or info.shape[1] != dim):
        fail(
            info,
            f"has the shape {list(info.shape)}, its features have {dim} numbers per sample: "
            f"send (outputs, {dim}), the matrix that is applied to these features.",
        )
    if info is not weights and info.shape != weights.shape[:1]:
        fail(info, f"has the shape {list(info.shape)}, its weights {list(weights.shape)}: send one bias per output.")
