"""What the tensors of a feature file must be, as far as their names, dtypes and shapes tell."""

from __future__ import annotations

from collections.abc import Mapping

from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.layers import MAX_LAYER_NAME, layers_of
from collapse_client.format.tensors import FLOATS, INTEGERS, TensorInfo

ALLOWED = "labels, features.<layer>, weights.<layer>, biases.<layer>"


def check_tensors(tensors: Mapping[str, TensorInfo]) -> None:
    """Raise InvalidFeatures, naming the tensor, unless these are labels, features and weights that fit each other."""
    for name in tensors:
        _check_name(name)
    labels = tensors.get("labels")
    if labels is None:
        raise InvalidFeatures("The file has no tensor `labels`: add one class index per sample.", tensor="labels")
    _check_labels(labels)
    if not layers_of(tensors):
        raise InvalidFeatures("The file has no features: add a tensor `features.<layer>` of shape (samples, dim).")
    for layer in layers_of(tensors):
        _check_features(tensors[f"features.{layer}"], labels.shape[0])
    for kind in ("weights", "biases"):  # in this order, because biases are compared with their weights
        for info in tensors.values():
            if info.name.startswith(f"{kind}."):
                _check_weights(info, kind, info.name.partition(".")[2], tensors)


def _fail(info: TensorInfo, detail: str) -> None:
    raise InvalidFeatures(f"Tensor {shown(info.name)} {detail}", tensor=info.name)


def _check_name(name: str) -> None:
    kind, dot, layer = name.partition(".")
    if name != "labels" and not (dot and kind in ("features", "weights", "biases")):
        raise InvalidFeatures(f"The tensor name {shown(name)} is not known: allowed are {ALLOWED}.", tensor=name)
    if dot and not 1 <= len(layer) <= MAX_LAYER_NAME:
        raise InvalidFeatures(
            f"The layer in the tensor name {shown(name)} must have 1 to {MAX_LAYER_NAME} characters.", tensor=name
        )


def _check_labels(labels: TensorInfo) -> None:
    if labels.dtype not in INTEGERS:
        _fail(labels, f"must be integers, and is {labels.dtype}: send class indices, such as int64.")
    if len(labels.shape) != 1:
        _fail(labels, f"must have the shape (samples,), and has {list(labels.shape)}: send one class index per sample.")
    if labels.shape[0] == 0:
        _fail(labels, "is empty: send at least one sample.")


def _check_features(info: TensorInfo, num_samples: int) -> None:
    if info.dtype not in FLOATS:
        _fail(info, f"is {info.dtype}: send one of {', '.join(FLOATS)}.")
    if not info.shape or 0 in info.shape[1:]:
        _fail(info, f"has the shape {list(info.shape)}: send (samples, dim) with at least one number per sample.")
    if info.shape[0] != num_samples:
        _fail(info, f"has {info.shape[0]} rows, labels has {num_samples}: send one row per sample.")


def _check_weights(info: TensorInfo, kind: str, layer: str, tensors: Mapping[str, TensorInfo]) -> None:
    if info.dtype not in FLOATS:
        _fail(info, f"is {info.dtype}: send one of {', '.join(FLOATS)}.")
    features, weights = tensors.get(f"features.{layer}"), tensors.get(f"weights.{layer}")
    if features is None:
        _fail(info, f"is for a layer without features: add `features.{layer}`, or leave it out.")
    elif weights is None:
        _fail(info, f"needs the weights that it belongs to: add `weights.{layer}`, or leave it out.")
    elif kind == "weights" and (len(info.shape) != 2 or info.shape[0] == 0 or info.shape[1] != features.row_size):
        _fail(
            info,
            f"has the shape {list(info.shape)}, its features have {features.row_size} numbers per sample: "
            f"send (outputs, {features.row_size}), the matrix that is applied to these features.",
        )
    elif kind == "biases" and info.shape != weights.shape[:1]:
        _fail(info, f"has the shape {list(info.shape)}, its weights {list(weights.shape)}: send one bias per output.")
