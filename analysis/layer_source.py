"""One layer of a feature set, as it was sent: samples, moments or both, in any number of parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.origin import Enclosures
from analysis.tiles import Tile, tile_rows
from collapse_client.format import MomentsFile
from collapse_client.format.moments import Moments


class LayerSource:
    """Where the statistics of one layer come from.

    moments: the files that have some in place of samples. enclosures: what may hold weights, biases and samples of no
    class. labels: the classes, ascending. tiles: over the samples.
    """

    def __init__(
        self,
        *,
        moments: Sequence[MomentsFile],
        enclosures: Sequence[Enclosures],
        layer: str,
        labels: Sequence[int],
        tiles: Iterable[Tile],
        device: str,
    ) -> None:
        self._layer = layer
        self._labels = np.asarray(labels, dtype=np.int64)
        self._tiles = tiles
        self._device = device
        self._moments_files = moments
        self._enclosures = enclosures

    def moments(self, *, dim: int, second_moments: str) -> Moments:
        """Moments of all parts together."""
        # Of a matrix each direction must keep its digits, and not their sum alone; and moments that are merged into
        # sums around 0 would lose theirs, unseen.
        careful = second_moments == "matrix" or len(self._moments_files) > 0
        moments = self._accumulated(self._none(dim, second_moments, shifted=careful))
        if not careful and moments.lost_digits:
            moments = self._accumulated(self._none(dim, second_moments))
        for part in self._moments_files:
            moments.merge(self._sent(part, dim))
        return moments

    @property
    def projected_scatter(self) -> Tensor | None:
        """M̄SM̄ᵀ as it was sent. Those of several parts, each around its own means, do not add up."""
        if len(self._enclosures) > 1 or len(self._moments_files) != 1:
            return None
        [part] = self._moments_files
        sent = part.projected_scatter(self._layer)
        if sent is None:
            return None
        order = np.argsort(part.classes)
        return self._tensor(sent[np.ix_(order, order)])

    def matrix(self, kind: str) -> Tensor | None:
        """The `weights` or `biases` of the layer, of the one part that has them."""
        for part in self._enclosures:
            sent = part.weights(self._layer) if kind == "weights" else part.biases(self._layer)
            if sent is not None:
                return self._tensor(sent)
        return None

    def ood_mean(self, dim: int) -> Tensor | None:
        """Mean of the samples of no class."""
        moments = Moments(num_classes=1, dim=dim, device=self._device)
        for part in self._enclosures:
            for tile in part.ood_tiles(self._layer, tile_rows(dim, self._device)):
                samples = torch.from_numpy(tile).to(self._device)
                moments.update(samples, torch.zeros(len(samples), dtype=torch.int64, device=self._device))
        return moments.means[0] if int(moments.counts) else None

    def _accumulated(self, moments: Moments) -> Moments:
        for samples, class_indices in self._tiles:
            moments.update(samples, class_indices)
        return moments

    def _none(self, dim: int, second_moments: str, *, shifted: bool = True) -> Moments:
        return Moments(
            num_classes=len(self._labels),
            dim=dim,
            second_moments=second_moments,
            shifted=shifted,
            device=self._device,
        )

    def _sent(self, part: MomentsFile, dim: int) -> Moments:
        """The moments of one part, with a row for each class of the set."""
        rows = np.searchsorted(self._labels, part.classes)
        scatter_matrix = part.scatter_matrix(self._layer)
        shift = part.shift(self._layer)
        sent = Moments.of(
            counts=self._spread(part.counts, rows),
            means=self._spread(part.means(self._layer), rows),
            scatter=self._spread(part.scatter(self._layer), rows),
            shift=None if shift is None else self._spread(shift, rows),
            scatter_matrix=None if scatter_matrix is None else self._tensor(scatter_matrix),
        )
        return sent

    def _spread(self, values: np.ndarray, rows: np.ndarray) -> Tensor:
        spread = np.zeros((len(self._labels), *values.shape[1:]), values.dtype)
        spread[rows] = values
        return self._tensor(spread)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)
