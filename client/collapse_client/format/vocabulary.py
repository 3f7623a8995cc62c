"""The names that tensors have, and which kind of file they make: samples, or the moments of samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collapse_client.format.errors import InvalidFeatures, shown

OF_SAMPLES = ("labels", "features", "split")
OF_MOMENTS = ("classes", "counts", "means", "shift", "scatter", "scatter_matrix", "projected_scatter")
OF_BOTH = ("weights", "biases", "ood")
WITHOUT_LAYER = ("labels", "split", "classes", "counts")
"""The others are followed by a dot and the name of a layer."""


def belongs(name: str, vocabulary: Sequence[str]) -> bool:
    """Whether the name is one of this vocabulary.

    >>> belongs("features.layer1", OF_SAMPLES), belongs("features", OF_SAMPLES), belongs("labels", OF_SAMPLES)
    (True, False, True)
    """
    kind, dot, _ = name.partition(".")
    return kind in vocabulary and bool(dot) != (kind in WITHOUT_LAYER)


def holds_moments(names: Iterable[str]) -> bool:
    """Whether tensors of these names make a file of moments, and not of samples.

    Raises InvalidFeatures when names of both kinds are there.
    """
    names = list(names)
    samples = [name for name in names if belongs(name, OF_SAMPLES)]
    moments = [name for name in names if belongs(name, OF_MOMENTS)]
    if moments and samples == ["split"]:
        raise InvalidFeatures(
            f"Tensor 'split' is not allowed beside moments such as {shown(moments[0])}: "
            "send each split as a set of its own.",
            tensor="split",
        )
    if moments and samples:
        raise InvalidFeatures(
            f"The file mixes samples ({shown(samples[0])}) with moments ({shown(moments[0])}): send either labels and "
            "features or classes, counts and means; two files can be parts of one set.",
            tensor=moments[0],
        )
    return bool(moments)


def listed(vocabulary: Sequence[str]) -> str:
    """Name a vocabulary in an error message.

    >>> listed(OF_SAMPLES)
    'labels, features.<layer>, split'
    """
    return ", ".join(kind if kind in WITHOUT_LAYER else f"{kind}.<layer>" for kind in vocabulary)
