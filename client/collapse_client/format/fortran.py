"""Rows of an array that lies column by column."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from collapse_client.format.tensors import Array, TensorInfo


def row_tiles(chunks: Iterable[Array], info: TensorInfo, rows: int) -> Iterator[Array]:
    """Yield (n ≤ rows, row_size) tiles of a Fortran-ordered tensor, given its values in the order of the file.

    The values go through an unlinked temporary file, since a row is spread over all of them.
    """
    samples, trailing = info.shape[0], info.shape[1:]
    with tempfile.TemporaryFile() as spool:
        dtype = np.dtype("float32")
        for chunk in chunks:
            dtype = chunk.dtype
            spool.write(chunk.data)
        for start in range(0, samples, rows):
            columns = np.empty((info.row_size, min(rows, samples - start)), dtype)
            for index, column in enumerate(columns):
                spool.seek((index * samples + start) * dtype.itemsize)
                spool.readinto(column.data)
            # The columns come with the first trailing axis running fastest: reversed, they make the row again.
            tile = columns.reshape(*reversed(trailing), columns.shape[1]).T
            yield np.ascontiguousarray(tile.reshape(columns.shape[1], info.row_size))
