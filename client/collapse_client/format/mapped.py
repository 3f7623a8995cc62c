"""Rows of a tensor by mapping its file, tile by tile: nothing is copied on the way to the one who reads them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np

from collapse_client.format.errors import UnsafeFile, shown
from collapse_client.format.tensors import Array, TensorInfo, native, stored_dtype

AHEAD_BYTES = 16 << 20
"""Read ahead of the reader, by the system and in the background."""


def mapped_rows(descriptor: int, info: TensorInfo, start: int, rows: int) -> Iterator[Array]:
    """Tiles (n ≤ rows, row_size) of a tensor whose data begins at byte `start` of the file; bfloat16 as float32.

    Each tile is a mapping of its own, which goes when the tile does: the memory in use does not grow with the file. It
    is private, so that its arrays are writable as torch wants them and writing reaches no file; and small, because
    systems refuse private mappings larger than their memory. A file that is cut short while a tile is in use ends the
    process (SIGBUS), which is why only those use this whose files are never changed; one cut short before raises
    UnsafeFile.
    """
    stored = stored_dtype(info.dtype)
    stop = start + info.size * stored.itemsize
    position = ahead = start
    while position < stop:
        if ahead < stop and ahead - position < AHEAD_BYTES // 2:
            _read_ahead(descriptor, ahead, min(position + AHEAD_BYTES, stop))
            ahead = position + AHEAD_BYTES
        size = min(rows * info.row_size * stored.itemsize, stop - position)
        skipped = position % mmap.ALLOCATIONGRANULARITY
        try:
            mapping = mmap.mmap(descriptor, skipped + size, access=mmap.ACCESS_COPY, offset=position - skipped)
        except ValueError as error:  # longer than the file
            raise UnsafeFile(f"Tensor {shown(info.name)} was cut short while it was read.", tensor=info.name) from error
        tile = np.frombuffer(mapping, stored, count=size // stored.itemsize, offset=skipped)
        # A header of odd length is allowed, and leaves every number at an odd address.
        yield native(np.require(tile, requirements="A"), info.dtype).reshape(-1, info.row_size)
        del tile, mapping  # before the next one is made
        position += size


def _read_ahead(descriptor: int, start: int, stop: int) -> None:
    """Where the system takes no such advice, everything works without."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)
