"""Reading a file once, tile by tile and in flat memory, to tell what it holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from collapse_client.format.description import FeaturesDescription, LayerInfo, check_class_count, check_split_count
from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.features import FeatureFile
from collapse_client.format.moments_file import MomentsFile
from collapse_client.format.open_file import CHUNK_ITEMS, OpenFile
from collapse_client.format.opening import AnyFile
from collapse_client.format.symmetry import check_symmetric
from collapse_client.format.tensors import FLOATS


def describe(file: AnyFile) -> FeaturesDescription:
    """Read every tensor, in memory that does not grow with the file.

    Raises InvalidFeatures with tensor and first bad row (0-based) for a negative label or split, for NaN or infinity,
    and for moments that no samples can have; UnsafeFile when the data turns out to be broken.
    """
    class_counts: dict[int, int] = {}
    of_splits: dict[int, dict[int, int]] = {}
    if isinstance(file, MomentsFile):
        class_counts.update((int(label), int(file.counts[row])) for row, label in enumerate(file.classes))
    else:
        _count(file, class_counts, of_splits)
    for info in file.tensors.values():
        if info.dtype in FLOATS:
            _check_finite(file, info.name)
    if isinstance(file, MomentsFile):
        _check_scatter(file)
    return FeaturesDescription(
        file.num_samples,
        dict(sorted(class_counts.items())),
        tuple(_layer_info(file, layer) for layer in file.layers),
        {split: dict(sorted(of_splits[split].items())) for split in sorted(of_splits)},
    )


def _count(file: FeatureFile, class_counts: dict[int, int], of_splits: dict[int, dict[int, int]]) -> None:
    """Count the samples of each class, of all splits and of each, in one pass over both tensors."""
    splits = file.split_tiles(CHUNK_ITEMS) if file.has_split else None
    for labels in file.label_tiles(CHUNK_ITEMS):
        _add(class_counts, labels)
        if splits is not None:
            own = next(splits)
            present = np.unique(own).tolist()
            check_split_count(len({*of_splits, *present}))
            for split in present:
                _add(of_splits.setdefault(split, {}), labels[own == split])


def _add(class_counts: dict[int, int], labels: npt.NDArray[np.int64]) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    for index, label in enumerate(classes.tolist()):
        class_counts[label] = class_counts.get(label, 0) + int(counts[index])
    check_class_count(class_counts)


def _check_finite(file: OpenFile, name: str) -> None:
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


def _check_scatter(file: MomentsFile) -> None:
    for layer in file.layers:
        negative = np.flatnonzero(file.scatter(layer) < 0)
        if len(negative):
            raise InvalidFeatures(
                f"Tensor {shown(f'scatter.{layer}')} is negative, first in row {negative[0]} (counted from 0): "
                "send the sum of squared distances from the class mean.",
                tensor=f"scatter.{layer}",
            )
        for kind in ("scatter_matrix", "projected_scatter"):
            if f"{kind}.{layer}" in file.tensors:
                check_symmetric(file, f"{kind}.{layer}")


def _layer_info(file: AnyFile, layer: str) -> LayerInfo:
    weights, ood = file.tensors.get(f"weights.{layer}"), file.tensors.get(f"ood.{layer}")
    return LayerInfo(
        name=layer,
        dim=file.dim(layer),
        dtype=file.tensors[f"{file.VALUES}.{layer}"].dtype,
        weights_shape=None if weights is None else (weights.shape[0], weights.shape[1]),
        ood_samples=0 if ood is None else ood.shape[0],
        second_moments=_second_moments(file, layer) if isinstance(file, MomentsFile) else None,
    )


def _second_moments(file: MomentsFile, layer: str) -> str:
    if f"scatter_matrix.{layer}" in file.tensors:
        return "matrix"
    return "projection" if f"projected_scatter.{layer}" in file.tensors else "trace"
