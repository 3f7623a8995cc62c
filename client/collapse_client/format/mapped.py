"""Rows of a tensor by mapping its file: nothing is copied on the way to the one who reads them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from collapse_client.format.errors import UnsafeFile, shown
from collapse_client.format.tensors import Array, TensorInfo, native, stored_dtype

AHEAD_BYTES = 16 << 20
"""Read ahead of the reader, by the system and in the background."""
KEPT_BYTES = 8 << 20
"""Of the mapped pages behind the reader, before they are let go: what may still be looked at."""


class MappedFile:
    """A file in the address space, from where its pages come when they are touched.

    The mapping is private, so that arrays over it are writable as torch wants them, and writing reaches no file. Pages
    behind the reader are let go, and come again if somebody looks back: the memory in use does not grow with the file.
    A file that is cut short while it is mapped ends the process (SIGBUS), which is why only those use this whose files
    are never changed.
    """

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)

    def rows(self, info: TensorInfo, start: int, rows: int) -> Iterator[Array]:
        """Tiles (n ≤ rows, row_size) of a tensor whose data begins at byte `start`; bfloat16 as float32."""
        stored = stored_dtype(info.dtype)
        stop = start + info.size * stored.itemsize
        if stop > len(self._map):
            raise UnsafeFile(f"Tensor {shown(info.name)} was cut short while it was read.", tensor=info.name)
        position = let_go = ahead = start
        while position < stop:
            if ahead - position < AHEAD_BYTES // 2:
                self._advise("MADV_WILLNEED", ahead, min(position + AHEAD_BYTES, stop))
                ahead = position + AHEAD_BYTES
            size = min(rows * info.row_size * stored.itemsize, stop - position)
            tile = np.frombuffer(self._map, stored, count=size // stored.itemsize, offset=position)
            # A header of odd length is allowed, and leaves every number at an odd address.
            yield native(np.require(tile, requirements="A"), info.dtype).reshape(-1, info.row_size)
            position += size
            if position - let_go > 2 * KEPT_BYTES:
                self._advise("MADV_DONTNEED", let_go, position - KEPT_BYTES)
                let_go = position - KEPT_BYTES
        self._advise("MADV_DONTNEED", let_go, stop)

    def _advise(self, advice: str, start: int, stop: int) -> None:
        """Tell the system about whole pages; where it takes no such advice, everything works without."""
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
        if hasattr(mmap, advice) and last > first:
            self._map.madvise(getattr(mmap, advice), first, last - first)
