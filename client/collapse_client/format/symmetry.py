"""Whether a square tensor is a sum of squares as far as its entries tell: symmetric, no negative diagonal."""

from __future__ import annotations

import numpy as np

from collapse_client.format.errors import InvalidFeatures, shown
from collapse_client.format.fortran import row_tiles
from collapse_client.format.open_file import CHUNK_ITEMS, OpenFile

TOLERANCE = 1e-6
"""Relative to the largest entry: what rounding in float32 leaves between an entry and its mirror image."""


def check_symmetric(file: OpenFile, name: str) -> None:
    """Raise InvalidFeatures, naming the worst entry, in memory that does not grow with the (finite) tensor."""
    info = file.tensors[name]
    size = info.row_size
    rows = max(1, CHUNK_ITEMS // size)
    # Read as if it lay column by column, a matrix is its transpose; which of the two is which does not matter here.
    mirrored = row_tiles(file.chunks(name, CHUNK_ITEMS), info, rows)
    largest = worst = lowest = 0.0
    worst_entry, lowest_row = (0, 0), 0
    start = 0
    for chunk in file.chunks(name, rows * size):
        tile = chunk.reshape(-1, size).astype(np.float64, copy=False)
        largest = max(largest, float(tile.max()), -float(tile.min()))
        with np.errstate(over="ignore"):  # a difference that overflows is large enough
            differences = tile - next(mirrored)
        np.abs(differences, out=differences)
        if differences.max() > worst:
            row, column = divmod(int(differences.argmax()), size)
            worst, worst_entry = float(differences.max()), (start + row, column)
        diagonal = np.diagonal(tile, offset=start)
        if diagonal.min() < lowest:
            lowest, lowest_row = float(diagonal.min()), start + int(diagonal.argmin())
        start += len(tile)
    if worst > TOLERANCE * largest:
        row, column = worst_entry
        raise InvalidFeatures(
            f"Tensor {shown(name)} is not symmetric: [{row}, {column}] and [{column}, {row}] differ by {worst:.3g} "
            f"(counted from 0), its largest entry is {largest:.3g}: send a matrix that equals its transpose.",
            tensor=name,
        )
    if lowest < -TOLERANCE * largest:
        raise InvalidFeatures(
            f"Tensor {shown(name)} has {lowest:.3g} on its diagonal in row {lowest_row} (counted from 0): "
            "scatter is a sum of squares and cannot be negative.",
            tensor=name,
        )
