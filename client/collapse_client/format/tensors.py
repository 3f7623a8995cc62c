"""Tensors as a file declares them, and the one way in which their values are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from collapse_client.format.errors import InvalidFeatures, UnsafeFile, shown

Array = npt.NDArray[Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool")

MAX_TENSORS = 4096
MAX_AXES = 32
MAX_DIMENSION = 2**48
MAX_NAME = 300  # the longest prefix and a layer name of 256 characters fit


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype ("float32", "bfloat16", "int64" …) and shape of one tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def row_size(self) -> int:
        """How many values one row has: the trailing axes flattened."""
        return math.prod(self.shape[1:])


class TensorFile(Protocol):
    """A file of named tensors whose header has been checked."""

    tensors: Mapping[str, TensorInfo]
    layers: tuple[str, ...]

    def chunks(self, name: str, items: int) -> Iterator[Array]:
        """Flat arrays of at most `items` values in the order of the file: native byte order, bfloat16 as float32."""

    def column_major(self, name: str) -> bool:
        """Whether the order of the file is Fortran's."""

    def mapped_rows(self, name: str, rows: int) -> Iterator[Array] | None:
        """Tiles (n ≤ rows, row_size) by mapping the file, or None where its bytes are not the tensor's."""

    def close(self) -> None:
        """Close the file."""


def check_tensor(name: str, shape: object) -> tuple[int, ...]:
    """Return `shape` as a tuple; raise when name or shape is nothing that a sane writer writes."""
    if len(name) > MAX_NAME or not name.isprintable():
        raise InvalidFeatures(
            f"The tensor name {shown(name)} is too long or has characters that cannot be printed: "
            "use `features.<layer>` with at most 256 printable characters for the layer.",
            tensor=shown(name),
        )
    if not isinstance(shape, (list, tuple)) or not all(type(size) is int and size >= 0 for size in shape):
        raise UnsafeFile(f"The shape of tensor {shown(name)} is no list of sizes: write the file again.", tensor=name)
    if len(shape) > MAX_AXES or any(size >= MAX_DIMENSION for size in shape):
        raise UnsafeFile(
            f"Tensor {shown(name)} declares the absurd shape {shown(list(shape))}: write the file again.", tensor=name
        )
    return tuple(shape)


def stored_dtype(dtype: str) -> np.dtype[Any]:
    """Little-endian numpy dtype of the bytes; numpy knows no bfloat16, so its bits are read as uint16."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def native(stored: Array, dtype: str) -> Array:
    """Values in native byte order; bfloat16, the upper half of a float32, is widened to one."""
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return (stored.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else stored


def read_chunks(
    info: TensorInfo, stored: np.dtype[Any], fill: Callable[[memoryview], None], items: int
) -> Iterator[Array]:
    """Call `fill` with one buffer after the other, and yield each as at most `items` native values."""
    for start in range(0, info.size, items):
        buffer = np.empty(min(items, info.size - start), stored)
        fill(buffer.view(np.uint8).data)
        yield native(buffer, info.dtype)
