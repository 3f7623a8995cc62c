"""The samples of one layer, tile by tile, across the parts of a feature set: any number of samples fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collapse_client.format.features import FeatureFile

TILE_BYTES = {"cpu": 4 << 20, "cuda": 64 << 20}
"""Of a tile in float64. On a CPU a tile stays in the cache between the passes over it; a GPU wants long launches."""
LABEL_ROWS = 1 << 16


def find_classes(parts: Sequence[FeatureFile]) -> dict[int, int]:
    """Label → number of samples, in ascending order of label, over all parts."""
    counts: dict[int, int] = {}
    for part in parts:
        for labels in part.label_tiles(LABEL_ROWS):
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
                counts[int(label)] = counts.get(int(label), 0) + int(count)
    return dict(sorted(counts.items()))


class LayerTiles:
    """One layer's tiles; each iteration reads the files again."""

    def __init__(
        self,
        parts: Sequence[FeatureFile],
        *,
        layer: str,
        dim: int,
        labels: Sequence[int],
        device: str,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.reading_seconds = 0.0
        self._parts = parts
        self._layer = layer
        self._labels = np.asarray(labels, dtype=np.int64)
        self._device = torch.device(device)
        self._rows = max(1, TILE_BYTES.get(self._device.type, TILE_BYTES["cpu"]) // (8 * dim))
        self._advance = advance

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of features (n, d), in the dtype of the file, and class indices (n,), on the device."""
        for part in self._parts:
            pairs = zip(part.tiles(self._layer, self._rows), part.label_tiles(self._rows), strict=True)
            while (pair := self._read(pairs)) is not None:
                yield pair
                self._advance(len(pair[1]))

    def _read(self, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor] | None:
        started = time.perf_counter()
        pair = next(pairs, None)
        self.reading_seconds += time.perf_counter() - started
        if pair is None:
            return None
        features, labels = pair
        class_indices = np.searchsorted(self._labels, labels)
        return torch.from_numpy(features).to(self._device), torch.from_numpy(class_indices).to(self._device)
