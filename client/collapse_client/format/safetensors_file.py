"""Reading safetensors.

The header is parsed here because the library accepts duplicate names and the shape [0, 2**62], and gives no byte
offsets by which a tensor could be read piece by piece.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any

from collapse_client.format.errors import InvalidFeatures, UnsafeFile, shown
from collapse_client.format.layers import layers_of, natural_order, order_layers
from collapse_client.format.mapped import mapped_rows
from collapse_client.format.sniffing import MAX_HEADER_BYTES
from collapse_client.format.tensors import MAX_TENSORS, Array, TensorInfo, check_tensor, read_chunks, stored_dtype

DTYPE_OF_CODE = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
}  # fmt: skip
# Bounds what the parser may build: eight million bytes of `[[],[],…` would become 200 MB of lists.
MAX_HEADER_VALUES = 2**18
_AGAIN = "write the file again (safetensors.torch.save_file)"


class SafetensorsFile:
    """A safetensors file whose header keeps its promises; raises UnsafeFile or InvalidFeatures."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._lock = threading.Lock()
        entries, data_start, data_size = _read_header(file)
        metadata = _checked_metadata(entries.pop("__metadata__", {}))
        if len(entries) > MAX_TENSORS:
            raise UnsafeFile(f"The file declares {len(entries)} tensors, {MAX_TENSORS} are allowed: send fewer layers.")
        self._offsets: dict[str, int] = {}
        tensors, spans = {}, []
        for name, entry in entries.items():
            tensors[name], span = _checked_entry(name, entry)
            self._offsets[name] = data_start + span[0]
            spans.append(span)
        _check_spans(spans, data_size)
        self.tensors: Mapping[str, TensorInfo] = tensors
        self.layers = _layers(layers_of(tensors), metadata)

    def chunks(self, name: str, items: int) -> Iterator[Array]:
        """Flat arrays of at most `items` values; see `TensorFile`."""
        info, position = self.tensors[name], self._offsets[name]

        def fill(buffer: memoryview) -> None:
            nonlocal position
            with self._lock:  # seek and read are one step, also for two threads that read two tensors
                self._file.seek(position)
                if self._file.readinto(buffer) != len(buffer):
                    raise UnsafeFile(f"Tensor {shown(name)} was cut short while it was read.", tensor=name)
            position += len(buffer)

        return read_chunks(info, stored_dtype(info.dtype), fill, items)

    def column_major(self, name: str) -> bool:
        """Rows lie one after the other in every safetensors file."""
        return False

    def mapped_rows(self, name: str, rows: int) -> Iterator[Array] | None:
        """Tiles (n ≤ rows, row_size) of a tensor, by mapping the file; see there for what that asks of it."""
        return mapped_rows(self._file.fileno(), self.tensors[name], self._offsets[name], rows)

    def close(self) -> None:
        """Close the file; tiles that somebody holds stay mapped until they are gone."""
        self._file.close()


def _read_header(file: BufferedReader) -> tuple[dict[str, Any], int, int]:
    """Return the entries, where the data starts, and how many bytes of data there are."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise UnsafeFile(f"The header says it has {length} bytes, {MAX_HEADER_BYTES} are allowed: {_AGAIN}.")
    if size < 8 + length:
        raise UnsafeFile(f"The header promises {length} bytes, the file holds {max(size - 8, 0)}: send it whole.")
    text = file.read(length)
    if sum(text.count(mark) for mark in (b"[", b"{", b",")) > MAX_HEADER_VALUES:
        raise UnsafeFile(f"The header has more than {MAX_HEADER_VALUES} values: send fewer layers or less metadata.")
    return _parse_object(text), 8 + length, size - 8 - length


def _parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object of strings, small integers, lists and objects, no key twice."""
    try:
        parsed = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_int=_small_integer,
            parse_float=_small_integer,
            parse_constant=_small_integer,
        )
    except (ValueError, RecursionError) as error:
        raise UnsafeFile(f"The header is no JSON that can be read: {_AGAIN}.") from error
    if not isinstance(parsed, dict):
        raise UnsafeFile(f"The header is no JSON object: {_AGAIN}.")
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise UnsafeFile(f"The name {shown(name)} comes twice in the header: {_AGAIN}.", tensor=shown(name))
    return entries


def _small_integer(digits: str) -> int:
    """Parse an integer of up to 20 digits: without the bound a number of a million digits costs minutes."""
    if len(digits) > 20:
        raise ValueError("number too long")
    return int(digits)


def _checked_metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnsafeFile(f"`__metadata__` must hold strings only: {_AGAIN}.")
    return metadata


def _checked_entry(name: str, entry: object) -> tuple[TensorInfo, tuple[int, int]]:
    """Return what the header says about one tensor, and its first and last byte of the data."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnsafeFile(f"The header entry {shown(name)} must have dtype, shape and data_offsets: {_AGAIN}.")
    shape = check_tensor(name, entry["shape"])
    code, span = entry["dtype"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPE_OF_CODE:
        raise InvalidFeatures(
            f"Tensor {shown(name)} has dtype {shown(code)}: send one of {', '.join(DTYPE_OF_CODE)}.", tensor=name
        )
    info = TensorInfo(name, DTYPE_OF_CODE[code], shape)
    if not isinstance(span, list) or len(span) != 2 or not all(type(offset) is int for offset in span):
        raise UnsafeFile(f"`data_offsets` of tensor {shown(name)} must be two integers: {_AGAIN}.", tensor=name)
    needed = info.size * stored_dtype(info.dtype).itemsize
    if span[1] - span[0] != needed:
        raise UnsafeFile(
            f"Tensor {shown(name)} of shape {list(shape)} needs {needed} bytes, its data_offsets give "
            f"{span[1] - span[0]}: {_AGAIN}.",
            tensor=name,
        )
    return info, (span[0], span[1])


def _check_spans(spans: list[tuple[int, int]], data_size: int) -> None:
    """The tensors must cover the data from its first to its last byte, each byte once."""
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            fault = "overlap" if start < end else "leave bytes between them"
            raise UnsafeFile(f"Tensors {fault} at byte {start} of the data: {_AGAIN}.")
        end = stop
    if end != data_size:
        raise UnsafeFile(f"The header promises {end} bytes of data, the file holds {data_size}: send it whole.")


def _layers(found: tuple[str, ...], metadata: dict[str, str]) -> tuple[str, ...]:
    """Order of the metadata entry `layers`, a JSON list of names; natural order without one."""
    if "layers" not in metadata:
        return natural_order(found)
    try:
        given = json.loads(metadata["layers"], parse_int=_small_integer)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list) or not all(isinstance(layer, str) for layer in given):
        raise InvalidFeatures('The metadata entry `layers` must be a JSON list of names, such as ["layer1", "layer2"].')
    return order_layers(found, given)
