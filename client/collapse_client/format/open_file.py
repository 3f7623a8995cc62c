"""An open file whose header has been checked: what files of samples and files of moments have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from collapse_client.format.fortran import row_tiles
from collapse_client.format.npz_file import NpzFile
from collapse_client.format.safetensors_file import SafetensorsFile
from collapse_client.format.sniffing import SNIFFED_BYTES, sniff
from collapse_client.format.tensors import Array, TensorFile, TensorInfo

CHUNK_ITEMS = 2**19  # 4 MiB of float64

Opened = TypeVar("Opened", bound="OpenFile")


class OpenFile:
    """An open file; use it as a context manager.

    `tensors` by name; `layers` in the file's own order: the metadata entry `layers`, else the archive's order (npz) or
    natural order (safetensors).
    """

    VALUES: ClassVar[str]
    """The tensors that make a layer: "features" or "means"."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(dict(file.tensors))
        self.layers = file.layers

    @classmethod
    def open(cls: type[Opened], path: str | os.PathLike[str], *, max_inflated_bytes: int) -> Opened:
        """Open a safetensors or npz file and check its header; the data of its layers is not read.

        Raises FormatError, or OSError when the disk does.
        """
        with opened_tensors(path, max_inflated_bytes=max_inflated_bytes) as file:
            return cls(file)

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def dim(self, layer: str) -> int:
        """How many numbers a sample has in this layer, its trailing axes flattened."""
        return self.tensors[f"{self.VALUES}.{layer}"].row_size

    def chunks(self, name: str, items: int) -> Iterator[Array]:
        """Any tensor as flat arrays of at most `items` values, in the order of the file (see `first_row`)."""
        return self._file.chunks(name, items)

    def first_row(self, name: str, positions: npt.NDArray[np.int64]) -> int:
        """Return the first row, from 0, that has one of the values at these positions of the order of the file."""
        info = self.tensors[name]
        rows = positions % info.shape[0] if self._file.column_major(name) else positions // info.row_size
        return int(rows.min())

    def weights(self, layer: str) -> npt.NDArray[np.float64] | None:
        """Matrix applied to the layer's features, (d_out, d_in), or None."""
        return self._whole(f"weights.{layer}")

    def biases(self, layer: str) -> npt.NDArray[np.float64] | None:
        """Bias that goes with the weights, (d_out,), or None."""
        return self._whole(f"biases.{layer}")

    def ood_tiles(self, layer: str, rows: int) -> Iterator[Array]:
        """Samples of no class, as tiles (n ≤ rows, dim) like those of features; none where the file has none."""
        if f"ood.{layer}" in self.tensors:
            yield from self._tiles(f"ood.{layer}", rows)

    def _tiles(self, name: str, rows: int) -> Iterator[Array]:
        """Consecutive rows, (n ≤ rows, row_size), C-contiguous, native byte order, trailing axes flattened."""
        info = self.tensors[name]
        mapped = self._file.mapped_rows(name, rows)
        if mapped is not None:
            yield from mapped
        elif self._file.column_major(name):
            yield from row_tiles(self._file.chunks(name, CHUNK_ITEMS), info, rows)
        else:
            for chunk in self._file.chunks(name, rows * info.row_size):
                yield chunk.reshape(-1, info.row_size)

    def _whole(self, name: str) -> npt.NDArray[np.float64] | None:
        info = self.tensors.get(name)
        if info is None:
            return None
        values = np.empty(info.size)
        start = 0
        for chunk in self._file.chunks(name, CHUNK_ITEMS):
            values[start : start + len(chunk)] = chunk
            start += len(chunk)
        if self._file.column_major(name):
            return np.ascontiguousarray(values.reshape(info.shape[::-1]).T)
        return values.reshape(info.shape)


@contextlib.contextmanager
def opened_tensors(path: str | os.PathLike[str], *, max_inflated_bytes: int) -> Iterator[TensorFile]:
    """Give the tensors of a file, which is closed if the block raises and left open otherwise."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Path(path).open("rb"))
        kind = sniff(file.read(SNIFFED_BYTES))
        yield NpzFile(file, max_inflated_bytes=max_inflated_bytes) if kind == "npz" else SafetensorsFile(file)
        stack.pop_all()
