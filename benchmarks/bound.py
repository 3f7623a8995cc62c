"""The time below which nobody gets on this machine: what must be read and multiplied, at measured rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.cases import Case

BUFFER_BYTES = 1 << 30
"""Larger than any cache."""
TILES_BYTES = (1 << 20, 4 << 20, 16 << 20)
"""Of float64; the tile that gives the highest rate counts."""
SECONDS = 0.3
"""Spent on measuring each rate; the best counts."""


@dataclass(frozen=True)
class Bound:
    """Seconds: one read of the file, and N·d·K multiply-adds for either of the two matrices of scores.

    The scores of the class means, which decide the nearest one, are in float64, those of the classifier in float32.
    """

    file_bytes: int
    bandwidth: float
    multiply_adds: int
    rate64: float
    classifier_multiply_adds: int
    rate32: float

    @property
    def reading(self) -> float:
        """One read of the file's bytes, from memory."""
        return self.file_bytes / self.bandwidth

    @property
    def means_scores(self) -> float:
        """Every sample against every class mean."""
        return self.multiply_adds / self.rate64

    @property
    def classifier_scores(self) -> float:
        """Every sample of the last layer against every row of the classifier."""
        return self.classifier_multiply_adds / self.rate32

    @property
    def seconds(self) -> float:
        """The bound: reading and multiplying may go on at the same time."""
        return max(self.reading, self.means_scores + self.classifier_scores)

    @property
    def seconds_without_classifier(self) -> float:
        """With the scores of the class means alone."""
        return max(self.reading, self.means_scores)

    def or_faster(self, other: Bound) -> Bound:
        """The same bound with the higher of the rates that were measured."""
        return replace(
            self,
            bandwidth=max(self.bandwidth, other.bandwidth),
            rate64=max(self.rate64, other.rate64),
            rate32=max(self.rate32, other.rate32),
        )

    def __str__(self) -> str:
        return (
            f"read {self.file_bytes / 1e6:.0f} MB at {self.bandwidth / 1e9:.1f} GB/s: {self.reading:.3f} s; "
            f"class means' scores {self.multiply_adds / 1e9:.2f} G multiply-adds at {self.rate64 / 1e9:.1f} G/s "
            f"(float64): {self.means_scores:.3f} s; classifier's {self.classifier_multiply_adds / 1e9:.2f} G at "
            f"{self.rate32 / 1e9:.1f} G/s (float32): {self.classifier_scores:.3f} s"
        )


def find_bound(case: Case, *, file_bytes: int) -> Bound:
    """Measure the bandwidth, and the two rates for the shapes of this case, and count."""
    one_layer = case.num_samples * case.dim * case.num_classes
    return Bound(
        file_bytes=file_bytes,
        bandwidth=memory_bandwidth(),
        multiply_adds=case.num_layers * one_layer,
        rate64=product_rate(case, torch.float64),
        classifier_multiply_adds=one_layer,
        rate32=product_rate(case, torch.float32),
    )


def memory_bandwidth() -> float:
    """Bytes per second of the faster of a sum (which reads) and a copy (which reads and writes)."""
    source = torch.ones(BUFFER_BYTES // 4)
    target = torch.empty_like(source)
    summing, copying = _shortest(source.sum), _shortest(lambda: target.copy_(source))
    return max(BUFFER_BYTES / summing, 2 * BUFFER_BYTES / copying)


def product_rate(case: Case, dtype: torch.dtype) -> float:
    """Multiply-adds per second of (tile × d) · (d × K) by torch's own product, operands in the cache if they fit."""
    seconds_of_one = []
    for tile_bytes in TILES_BYTES:
        rows = min(max(1, tile_bytes // (8 * case.dim)), case.num_samples)
        tile = torch.randn(rows, case.dim, dtype=dtype)
        means, result = torch.randn(case.num_classes, case.dim, dtype=dtype), tile.new_empty(rows, case.num_classes)
        shortest = min(_shortest(_product(tile, right, result)) for right in (means.T, means.T.contiguous()))
        seconds_of_one.append(shortest / rows)
    return case.dim * case.num_classes / min(seconds_of_one)


def _product(left: Tensor, right: Tensor, result: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.mm(left, right, out=result)


def _shortest(compute: Callable[[], object]) -> float:
    compute()
    shortest, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        compute()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest
