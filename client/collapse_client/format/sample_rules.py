"""What the tensors of a feature file must be, as far as their names, dtypes and shapes tell."""

from __future__ import annotations

from collections.abc import Mapping

from collapse_client.format.errors import InvalidFeatures
from collapse_client.format.layers import layers_of
from collapse_client.format.rules import check_beside, check_floats, check_integers, check_names, fail
from collapse_client.format.tensors import TensorInfo
from collapse_client.format.vocabulary import OF_BOTH, OF_SAMPLES


def check_samples(tensors: Mapping[str, TensorInfo]) -> None:
    """Raise InvalidFeatures, naming the tensor, unless these are labels, features and weights that fit each other."""
    check_names(tensors, (*OF_SAMPLES, *OF_BOTH))
    labels = tensors.get("labels")
    if labels is None:
        raise InvalidFeatures("The file has no tensor `labels`: add one class index per sample.", tensor="labels")
    _check_labels(labels)
    if "split" in tensors:
        _check_split(tensors["split"], labels.shape[0])
    if not layers_of(tensors):
        raise InvalidFeatures("The file has no features: add a tensor `features.<layer>` of shape (samples, dim).")
    for layer in layers_of(tensors):
        _check_features(tensors[f"features.{layer}"], labels.shape[0])
    check_beside(tensors, values="features")


def _check_labels(labels: TensorInfo) -> None:
    check_integers(labels, example="class indices")
    if len(labels.shape) != 1:
        fail(labels, f"must have the shape (samples,), and has {list(labels.shape)}: send one class index per sample.")
    if labels.shape[0] == 0:
        fail(labels, "is empty: send at least one sample.")


def _check_split(split: TensorInfo, num_samples: int) -> None:
    check_integers(split, example="the number of each sample's split")
    if split.shape != (num_samples,):
        fail(split, f"has the shape {list(split.shape)}, labels [{num_samples}]: send one number per sample.")


def _check_features(info: TensorInfo, num_samples: int) -> None:
    check_floats(info)
    if not info.shape or 0 in info.shape[1:]:
        fail(info, f"has the shape {list(info.shape)}: send (samples, dim) with at least one number per sample.")
    if info.shape[0] != num_samples:
        fail(info, f"has {info.shape[0]} rows, labels has {num_samples}: send one row per sample.")
