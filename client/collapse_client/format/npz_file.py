"""Reading npz: a zip archive of npy arrays, never with pickle, and nothing inflated before its size is known."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy

from collapse_client.format.errors import FormatError, InvalidFeatures, UnsafeFile, UnsupportedFormat, shown
from collapse_client.format.layers import layers_of
from collapse_client.format.tensors import DTYPES, MAX_TENSORS, Array, TensorInfo, check_tensor, read_chunks

# One read of the archive. zipfile takes the whole central directory in one: 4096 members need well under 1 MiB.
MAX_READ_BYTES = 2**20
# A plain array's header is padded to 128 bytes; numpy evaluates it as a literal, so it must not be long.
MAX_NPY_HEADER_BYTES = 1024
LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_AGAIN = "write the file again (numpy.savez)"


@dataclass(frozen=True)
class _Header:
    """What the npy header of one member says."""

    info: TensorInfo
    stored: np.dtype[Any]
    column_major: bool
    length: int


class NpzFile:
    """An npz file whose members are plain arrays of the declared size; raises UnsafeFile or InvalidFeatures."""

    def __init__(self, file: io.BufferedReader, *, max_inflated_bytes: int) -> None:
        self._file = file
        with _refusing("The archive"):
            self._archive = zipfile.ZipFile(_BoundedReader(file))
        members = self._archive.infolist()
        _check_members(members, max_inflated_bytes)
        self._members = {member.filename[: -len(".npy")]: member for member in members}
        self._headers = {name: self._read_header(name) for name in self._members}
        self.tensors: Mapping[str, TensorInfo] = {name: header.info for name, header in self._headers.items()}
        self.layers = layers_of(self.tensors)

    def chunks(self, name: str, items: int) -> Iterator[Array]:
        """Flat arrays of at most `items` values; see `TensorFile`. Reading to the end compares the checksum."""
        header = self._headers[name]
        with self._member(name) as stream:
            stream.read(header.length)
            yield from read_chunks(header.info, header.stored, lambda buffer: _fill(buffer, stream, name), items)

    def column_major(self, name: str) -> bool:
        """Whether the array was saved in Fortran's order."""
        return self._headers[name].column_major

    def mapped_rows(self, name: str, rows: int) -> Iterator[Array] | None:
        """None: members are compressed, or have checksums to compare."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._archive.close()
        self._file.close()

    def _member(self, name: str) -> zipfile.ZipExtFile:
        with _refusing(f"Tensor {shown(name)}"):
            return self._archive.open(self._members[name])  # type: ignore[return-value]  # typeshed: IO[bytes]

    def _read_header(self, name: str) -> _Header:
        """Read and check the npy header, the only part of the member that is inflated here."""
        with self._member(name) as stream, _refusing(f"Tensor {shown(name)}"):
            start = io.BytesIO(stream.read(MAX_NPY_HEADER_BYTES))
            # Version 3.0 is for the names of structured arrays only, and those are refused.
            readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            shape, fortran_order, stored = readers[npy.read_magic(start)](start)
        _check_dtype(name, stored)
        info = TensorInfo(name, stored.newbyteorder("=").name, check_tensor(name, shape))
        size = start.tell() + info.size * stored.itemsize
        if size != self._members[name].file_size:
            raise UnsafeFile(
                f"Tensor {shown(name)} of shape {list(info.shape)} needs {size} bytes, the archive declares "
                f"{self._members[name].file_size}: {_AGAIN}.",
                tensor=name,
            )
        return _Header(info, stored, fortran_order and len(info.shape) > 1, start.tell())


class _BoundedReader:
    """The archive as zipfile sees it: no read beyond `MAX_READ_BYTES`, whatever sizes the archive declares."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or what is left."""
        left = max(self._size - self._file.tell(), 0)
        size = left if size < 0 else min(size, left)
        if size > MAX_READ_BYTES:
            raise UnsafeFile(f"The archive's directory has {size} bytes, {MAX_READ_BYTES} are allowed: {_AGAIN}.")
        return self._file.read(size)


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn what zipfile, zlib and numpy raise on a broken archive into UnsafeFile.

    They document no list; zlib.error, EOFError, NotImplementedError and struct.error are among it. An OSError is the
    disk's, except for a seek to where no file can be, which the archive asks for.
    """
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise UnsafeFile(f"{what} cannot be read ({shown(str(error))}): send it whole, or {_AGAIN}.") from error


def _check_members(members: Sequence[zipfile.ZipInfo], max_inflated_bytes: int) -> None:
    """Everything that the central directory alone can tell."""
    names = Counter(member.filename for member in members)
    if any(name.endswith("data.pkl") for name in names):
        raise UnsafeFile(
            "This is a torch.save archive: its pickle can run code when it is read. Use safetensors.torch.save_file."
        )
    if names and not any(name.endswith(".npy") for name in names):
        raise UnsupportedFormat("This zip archive has no npy arrays: write it with numpy.savez.")
    if len(members) > MAX_TENSORS:
        raise UnsafeFile(f"The archive has {len(members)} members, {MAX_TENSORS} are allowed: send fewer layers.")
    for name, count in names.items():
        if count > 1:
            raise UnsafeFile(f"The member {shown(name)} comes {count} times: {_AGAIN}.")
    for member in members:
        _check_member(member)
    inflated = sum(member.file_size for member in members)
    if inflated > max_inflated_bytes:
        raise UnsafeFile(
            f"The archive inflates to {inflated} bytes, {max_inflated_bytes} are allowed: send the samples in parts."
        )
    _check_overlap(members)


def _check_member(member: zipfile.ZipInfo) -> None:
    name = shown(member.filename)
    if not member.filename.endswith(".npy"):
        raise UnsafeFile(f"The member {name} is no npy array: {_AGAIN}.")
    if member.flag_bits & _ENCRYPTED:
        raise UnsafeFile(f"The member {name} is encrypted: {_AGAIN}.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFile(f"The member {name} is neither stored nor deflated: {_AGAIN}.")
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise UnsafeFile(f"The member {name} is stored, but declares two sizes: {_AGAIN}.")


def _check_overlap(members: Sequence[zipfile.ZipInfo]) -> None:
    """No two members may share bytes, by which a small archive could pass for a large one."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise UnsafeFile(f"The member {shown(member.filename)} overlaps another: {_AGAIN}.")
        end = member.header_offset + LOCAL_HEADER_BYTES + member.compress_size


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise UnsafeFile(
            f"Tensor {shown(name)} holds Python objects, which is a pickle: convert it to numbers first.", tensor=name
        )
    if dtype.newbyteorder("=").name not in DTYPES:
        raise InvalidFeatures(
            f"Tensor {shown(name)} has dtype {shown(str(dtype))}: send one of {', '.join(DTYPES)} "
            "(bfloat16 as safetensors, which npz cannot name).",
            tensor=name,
        )


def _fill(buffer: memoryview, stream: zipfile.ZipExtFile, name: str) -> None:
    """Fill the buffer in reads that `_BoundedReader` lets pass."""
    with _refusing(f"Tensor {shown(name)}"):
        while buffer:
            count = stream.readinto(buffer[:MAX_READ_BYTES])
            if not count:
                raise UnsafeFile(f"Tensor {shown(name)} is shorter than declared: {_AGAIN}.", tensor=name)
            buffer = buffer[count:]
