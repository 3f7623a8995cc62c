"""Reading a feature file: labels, features and weights of the layers of a classifier."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np
import numpy.typing as npt

from collapse_client.format.description import (
    FeaturesDescription,
    LayerInfo,
    check_complete,
    describe,
    merge_descriptions,
)
from collapse_client.format.errors import InvalidFeatures
from collapse_client.format.fortran import row_tiles
from collapse_client.format.layers import order_layers
from collapse_client.format.npz_file import NpzFile
from collapse_client.format.rules import check_tensors
from collapse_client.format.safetensors_file import SafetensorsFile
from collapse_client.format.sniffing import SNIFFED_BYTES, sniff
from collapse_client.format.tensors import Array, TensorFile, TensorInfo

__all__ = [
    "FeatureFile",
    "FeaturesDescription",
    "LayerInfo",
    "TensorInfo",
    "check_complete",
    "describe",
    "merge_descriptions",
    "order_layers",
    "sniff",
]

_CHUNK_ITEMS = 2**19


class FeatureFile:
    """An open feature file whose header has been checked; use it as a context manager.

    `tensors` by name; `layers` in the file's own order: the metadata entry `layers`, else the archive's order (npz) or
    natural order (safetensors).
    """

    def __init__(self, file: TensorFile) -> None:
        check_tensors(file.tensors)
        self._file = file
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(dict(file.tensors))
        self.layers = file.layers
        self.num_samples = self.tensors["labels"].shape[0]

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, max_inflated_bytes: int) -> FeatureFile:
        """Open a safetensors or npz file and check its header; the data is not read.

        Raises FormatError, or OSError when the disk does.
        """
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(Path(path).open("rb"))
            kind = sniff(file.read(SNIFFED_BYTES))
            tensor_file: TensorFile = (
                NpzFile(file, max_inflated_bytes=max_inflated_bytes) if kind == "npz" else SafetensorsFile(file)
            )
            opened = cls(tensor_file)
            stack.pop_all()
        return opened

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self, name: str, items: int) -> Iterator[Array]:
        """Any tensor as flat arrays of at most `items` values, in the order of the file (see `first_row`)."""
        return self._file.chunks(name, items)

    def first_row(self, name: str, positions: npt.NDArray[np.int64]) -> int:
        """Return the first row, from 0, that has one of the values at these positions of the order of the file."""
        info = self.tensors[name]
        rows = positions % info.shape[0] if self._file.column_major(name) else positions // info.row_size
        return int(rows.min())

    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each sample, (N,). Raises InvalidFeatures for a negative one."""
        labels = np.empty(self.num_samples, np.int64)
        start = 0
        for tile in self.label_tiles(_CHUNK_ITEMS):
            labels[start : start + len(tile)] = tile
            start += len(tile)
        return labels

    def label_tiles(self, rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """Classes of consecutive samples, (n ≤ rows,), in step with `tiles`; a negative one raises InvalidFeatures."""
        start = 0
        for stored in self._file.chunks("labels", rows):
            labels = stored.astype(np.int64, copy=False)
            # A uint64 beyond int64 wraps to a negative number, so that one look finds both.
            wrong = labels < 0
            if wrong.any():
                index = int(wrong.argmax())
                raise InvalidFeatures(
                    f"Tensor 'labels' has {stored[index]} in row {start + index} (counted from 0): "
                    "labels are class indices from 0 to 2**63 - 1.",
                    tensor="labels",
                )
            yield labels
            start += len(labels)

    def tiles(self, layer: str, rows: int) -> Iterator[Array]:
        """Features of consecutive samples: (n ≤ rows, dim), C-contiguous, native byte order, trailing axes flattened.

        float16, float32 and float64 as stored; bfloat16 as float32.
        """
        info = self.tensors[f"features.{layer}"]
        if self._file.column_major(info.name):
            yield from row_tiles(self._file.chunks(info.name, _CHUNK_ITEMS), info, rows)
        else:
            for chunk in self._file.chunks(info.name, rows * info.row_size):
                yield chunk.reshape(-1, info.row_size)

    def weights(self, layer: str) -> npt.NDArray[np.float64] | None:
        """Matrix applied to the layer's features, (d_out, d_in), or None."""
        return self._whole(f"weights.{layer}")

    def biases(self, layer: str) -> npt.NDArray[np.float64] | None:
        """Bias that goes with the weights, (d_out,), or None."""
        return self._whole(f"biases.{layer}")

    def _whole(self, name: str) -> npt.NDArray[np.float64] | None:
        info = self.tensors.get(name)
        if info is None:
            return None
        values = np.empty(info.size)
        start = 0
        for chunk in self._file.chunks(name, _CHUNK_ITEMS):
            values[start : start + len(chunk)] = chunk
            start += len(chunk)
        if self._file.column_major(name):
            return np.ascontiguousarray(values.reshape(info.shape[::-1]).T)
        return values.reshape(info.shape)
