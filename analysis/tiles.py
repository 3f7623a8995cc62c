"""The samples of one layer, tile by tile, across the parts of a feature set: any number of samples fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from analysis.read_ahead import read_ahead
from collapse_client.format import FeatureFile

TILE_BYTES = {"cpu": 8 << 20, "cuda": 64 << 20}
"""Of a tile in float64: on a CPU as little as costs nothing in calls; a GPU wants long launches."""

Tile = tuple[torch.Tensor, torch.Tensor]
"""Features (n, d), in the dtype of the file, and class indices (n,)."""
ReadTile = tuple[int, torch.Tensor, torch.Tensor]
"""How many rows were read, and the tile that is left of them once other splits are out."""


def tile_rows(dim: int, device: str) -> int:
    """Samples of a tile on this device."""
    return max(1, TILE_BYTES.get(torch.device(device).type, TILE_BYTES["cpu"]) // (8 * dim))


class LayerTiles:
    """One layer's tiles, of one split or of all samples; each iteration reads the files again.

    labels: the classes, ascending; a sample's class index is the place of its label among them. Files are mapped, and
    the system reads them ahead. For a GPU a thread reads tiles and copies them, from page-locked memory on a stream of
    its own, so that reading, copying and computing overlap; on a CPU a thread would take a core from the computation.
    """

    def __init__(
        self,
        parts: Sequence[FeatureFile],
        *,
        layer: str,
        dim: int,
        labels: Sequence[int],
        device: str,
        split: int | None = None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.reading_seconds = 0.0
        """what the computation waited for the next tile"""
        self._parts = parts
        self._layer = layer
        self._labels = np.asarray(labels, dtype=np.int64)
        self._split = split
        self._device = torch.device(device)
        self._rows = tile_rows(dim, device)
        self._advance = advance

    def __iter__(self) -> Iterator[Tile]:
        """Pairs of features (n, d), in the dtype of the file, and class indices (n,), on the device."""
        ready = read_ahead(self._copied()) if self._device.type == "cuda" else self._read()
        while (tile := self._next(ready)) is not None:
            rows, features, class_indices = tile
            if len(class_indices):
                yield features, class_indices
            self._advance(rows)

    def _next(self, ready: Iterator[ReadTile]) -> ReadTile | None:
        started = time.perf_counter()
        tile = next(ready, None)
        self.reading_seconds += time.perf_counter() - started
        return tile

    def _read(self) -> Iterator[ReadTile]:
        """Rows read, and of these the features and class indices of the split."""
        for part in self._parts:
            labels = part.label_tiles(self._rows)
            splits = part.split_tiles(self._rows) if self._split is not None else None
            for features, own_labels in zip(part.tiles(self._layer, self._rows), labels, strict=True):
                rows = len(own_labels)
                if splits is not None:
                    chosen = next(splits) == self._split
                    features, own_labels = features[chosen], own_labels[chosen]
                class_indices = np.searchsorted(self._labels, own_labels)
                yield rows, torch.from_numpy(features), torch.from_numpy(class_indices)

    def _copied(self) -> Iterator[ReadTile]:
        """The same on the GPU, by a stream of its own."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch has none here
        for rows, features, class_indices in self._read():
            with torch.cuda.stream(stream):
                copies = [t.pin_memory().to(self._device, non_blocking=True) for t in (features, class_indices)]
            # Waited for here, in the reading thread, while the tiles before are being computed.
            stream.synchronize()
            for copy in copies:
                copy.record_stream(torch.cuda.default_stream(self._device))
            yield rows, copies[0], copies[1]
