"""Moments of one layer, class by class: counts, means and scatter, accumulated over batches and merged in any order.

Needs torch and nothing else, so that a training process can keep them on its own device.
"""

from __future__ import annotations

from typing import Optional, Union

import torch
from torch import Tensor


class Moments:
    """Counts n_c, means μ_c and scatter Σ_i ‖h_i − μ_c‖² of every class c of one layer.

    Kept as sums of h − shift_c and of ‖h − shift_c‖², in float64 whatever the input, where shift_c is the first sample
    seen of class c (shifted data and pairwise merging: Chan, Golub, LeVeque 1983, Algorithms for Computing the Sample
    Variance). Because the shift is itself one of the samples,

    - offsets common to all features cancel before anything is squared or summed;
    - samples that are all alike have a scatter of exactly 0;
    - n_c ‖μ_c − shift_c‖² ≤ n_c · scatter_c, so that taking it off costs at most n_c roundings.

    >>> moments = Moments(num_classes=2, dim=1)
    >>> moments.update(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]))
    >>> moments.means.tolist(), moments.scatter.tolist()
    ([[2.0], [5.0]], [2.0, 0.0])
    """

    def __init__(self, *, num_classes: int, dim: int, device: Optional[Union[str, torch.device]] = None) -> None:
        if num_classes < 1 or dim < 1:
            raise ValueError(f"num_classes and dim must be at least 1, not {num_classes} and {dim}")
        self.counts = torch.zeros(num_classes, dtype=torch.int64, device=device)
        """(K,) samples seen"""
        self.shift = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        """(K, d) first sample seen; 0 where none was"""
        self.sums = torch.zeros_like(self.shift)
        """(K, d) Σ (h − shift)"""
        self.squares = torch.zeros(num_classes, dtype=torch.float64, device=device)
        """(K,) Σ ‖h − shift‖²"""
        self._deviations = Deviations()

    @property
    def offsets(self) -> Tensor:
        """(K, d) class means relative to the shift; 0 for classes not seen."""
        return self.sums / self.counts.clamp(min=1)[:, None]

    @property
    def means(self) -> Tensor:
        """(K, d) class means; 0 for classes not seen."""
        return self.shift + self.offsets

    @property
    def scatter(self) -> Tensor:
        """(K,) Σ_i ‖h_i − μ_c‖², not divided by anything; never negative."""
        return (self.squares - (self.sums * self.offsets).sum(dim=1)).clamp(min=0)

    @torch.no_grad()
    def update(self, features: Tensor, class_indices: Tensor) -> None:
        """Take in a batch: features (n, d) of any floating dtype, class_indices (n,) in 0 … K−1.

        Raises ValueError where shapes or indices do not fit.
        """
        self._check(features, class_indices)
        if not len(features):
            return
        self._find_shift(features, class_indices)
        relative = self._deviations(features, self.shift, class_indices)
        self.counts += torch.bincount(class_indices, minlength=len(self.counts))
        add_by_class(self.sums, relative, class_indices)
        squares = torch.linalg.vector_norm(relative, dim=1, keepdim=True).square_()
        add_by_class(self.squares[:, None], squares, class_indices)

    def merge(self, other: Moments) -> None:
        """Take in what another accumulated, as if its samples had come here.

        With δ = other.shift − shift: Σ (h − shift) = Σ (h − other.shift) + n δ, and likewise for the squares.
        """
        if other.shift.shape != self.shift.shape:
            mine, theirs = tuple(self.shift.shape), tuple(other.shift.shape)
            raise ValueError(f"moments of {mine} classes and dimensions cannot take in moments of {theirs}")
        # Where this side has seen nothing it takes over the other's shift; where the other has not, δ must not count.
        self.shift = torch.where((self.counts == 0)[:, None], other.shift, self.shift)
        delta = torch.where((other.counts == 0)[:, None], torch.zeros_like(self.shift), other.shift - self.shift)
        moved = other.sums + other.counts[:, None] * delta
        self.squares = self.squares + other.squares + (delta * (other.sums + moved)).sum(dim=1)
        self.sums = self.sums + moved
        self.counts = self.counts + other.counts

    def _find_shift(self, features: Tensor, class_indices: Tensor) -> None:
        """Take the first sample of every class that has none yet."""
        if bool((self.counts > 0).all()):
            return
        rows = torch.arange(len(features), device=features.device)
        first = torch.full_like(self.counts, len(features)).scatter_reduce_(0, class_indices, rows, "amin")
        found = (self.counts == 0) & (first < len(features))
        self.shift[found] = features[first[found]].to(torch.float64)

    def _check(self, features: Tensor, class_indices: Tensor) -> None:
        num_classes, dim = self.shift.shape
        if features.ndim != 2 or features.shape[1] != dim:
            raise ValueError(f"features must be (n, {dim}), not {tuple(features.shape)}: flatten the trailing axes")
        if class_indices.shape != features.shape[:1]:
            wanted, found = tuple(features.shape[:1]), tuple(class_indices.shape)
            raise ValueError(f"class_indices must be {wanted}, one for each row of features, not {found}")
        if len(features) and not (int(class_indices.min()) >= 0 and int(class_indices.max()) < num_classes):
            raise ValueError(f"class_indices must lie in 0 … {num_classes - 1}: number the classes from 0")


class Deviations:
    """h − centre of its class in float64, in memory that serves every batch: fresh pages cost more than the sums."""

    def __init__(self) -> None:
        self._memory: Optional[Tensor] = None

    def __call__(self, features: Tensor, centers: Tensor, class_indices: Tensor) -> Tensor:
        """Subtract centers[class_indices] (of K × d) from features (n × d); the result lasts until the next call."""
        size = len(features)
        if self._memory is None or self._memory.shape[1] < size:
            self._memory = centers.new_empty(2, *features.shape)
        deviations, own = self._memory[0, :size], self._memory[1, :size]
        torch.index_select(centers, 0, class_indices, out=own)
        return deviations.copy_(features).sub_(own)  # promoted before, and not after, they are subtracted


def add_by_class(totals: Tensor, values: Tensor, class_indices: Tensor) -> None:
    """Add each row of values (n, m) to the row of totals (K, m) that its class index names."""
    if values.is_cuda:
        # Atomic additions come in any order and give another last digit every time; a matrix product does not.
        one_hot = torch.nn.functional.one_hot(class_indices, len(totals))
        totals.addmm_(one_hot.T.to(values.dtype), values)
    else:
        totals.index_add_(0, class_indices, values)
