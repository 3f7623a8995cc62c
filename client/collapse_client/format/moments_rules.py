"""What the tensors of a moments file must be, as far as their names, dtypes and shapes tell."""

from __future__ import annotations

from collections.abc import Mapping

from collapse_client.format.description import MAX_CLASSES
from collapse_client.format.errors import InvalidFeatures
from collapse_client.format.layers import layers_of
from collapse_client.format.rules import check_beside, check_floats, check_integers, check_names, fail
from collapse_client.format.tensors import TensorInfo
from collapse_client.format.vocabulary import OF_BOTH, OF_MOMENTS

MAX_MATRIX_DIM = 8192
"""A matrix of that size is half a gigabyte in float64, which a worker holds several times over."""

MEANING = {
    "shift": "what the mean of each class is relative to",
    "scatter": "the sum of the squared distances of each class's samples from their mean",
    "scatter_matrix": "the scatter within the classes, over all of them",
    "projected_scatter": "the scatter within the classes along their centred means",
}


def check_moments(tensors: Mapping[str, TensorInfo]) -> None:
    """Raise InvalidFeatures, naming the tensor, unless these are the moments of layers, class by class."""
    check_names(tensors, (*OF_MOMENTS, *OF_BOTH))
    num_classes = _check_classes(tensors)
    layers = layers_of(tensors)
    if not layers:
        raise InvalidFeatures("The file has no means: add a tensor `means.<layer>` of shape (classes, dim).")
    for layer in layers:
        _check_layer(layer, tensors, num_classes)
    for info in tensors.values():
        kind, _, layer = info.name.partition(".")
        if kind in MEANING and f"means.{layer}" not in tensors:
            fail(info, f"is for a layer without means: add `means.{layer}`, or leave it out.")
    check_beside(tensors, values="means")


def _check_classes(tensors: Mapping[str, TensorInfo]) -> int:
    for name, content in (("classes", "the label of each class"), ("counts", "the number of samples of each class")):
        if name not in tensors:
            raise InvalidFeatures(f"The file has no tensor `{name}`: add {content}.", tensor=name)
        check_integers(tensors[name], example=content)
    classes, counts = tensors["classes"], tensors["counts"]
    if len(classes.shape) != 1 or not 1 <= classes.shape[0] <= MAX_CLASSES:
        fail(
            classes,
            f"must have the shape (classes,) with 1 to {MAX_CLASSES} of them, and has {list(classes.shape)}: "
            "send one label per class.",
        )
    if counts.shape != classes.shape:
        fail(counts, f"has the shape {list(counts.shape)}, classes {list(classes.shape)}: send one count per class.")
    return classes.shape[0]


def _check_layer(layer: str, tensors: Mapping[str, TensorInfo], num_classes: int) -> None:
    means = tensors[f"means.{layer}"]
    check_floats(means)
    if len(means.shape) != 2 or means.shape[0] != num_classes or means.shape[1] == 0:
        fail(means, f"has the shape {list(means.shape)}: send ({num_classes}, dim), one row per class.")
    dim = means.shape[1]
    shapes = {
        "shift": (num_classes, dim),
        "scatter": (num_classes,),
        "scatter_matrix": (dim, dim),
        "projected_scatter": (num_classes, num_classes),
    }
    if f"scatter.{layer}" not in tensors:
        raise InvalidFeatures(
            f"The file has no tensor `scatter.{layer}`: add {MEANING['scatter']}.", tensor=f"scatter.{layer}"
        )
    for kind, shape in shapes.items():
        info = tensors.get(f"{kind}.{layer}")
        if info is None:
            continue
        check_floats(info)
        if info.shape != shape:
            fail(info, f"has the shape {list(info.shape)}: send {list(shape)}, {MEANING[kind]}.")
        if kind == "scatter_matrix" and dim > MAX_MATRIX_DIM:
            fail(info, f"has {dim} rows, {MAX_MATRIX_DIM} are allowed: leave it out, or send projected_scatter.")
