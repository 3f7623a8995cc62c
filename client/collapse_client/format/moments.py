"""Moments of one layer, class by class: counts, means and scatter, accumulated over batches and merged in any order.

Needs torch and nothing else, so that a training process can keep them on its own device.
"""

from __future__ import annotations

from typing import Optional, Union

import torch
from torch import Tensor

LARGEST_CANCELLATION = 1e-3
"""Scatter over squares below which three digits are gone. A sum of 100 000 squares is off by some 300 roundings, and
the scatter then by a thousand times as much: 4e-11, relative."""


class Moments:
    """Counts n_c, means μ_c and scatter of every class c of one layer; merged in any order, those of the whole.

    `second_moments` says what is kept of the scatter around the class means: "trace", Σ_i ‖h_i − μ_c‖² of each class;
    "matrix", besides it the pooled Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ, d × d, at a cost of N·d² instead of N·d.

    Kept as sums of h − shift_c and of their squares, in float64 whatever the input, where shift_c is the first sample
    seen of class c (shifted data and pairwise merging: Chan, Golub, LeVeque 1983, Algorithms for Computing the Sample
    Variance). Whoever can look at the samples again may say `shifted=False`: the shift is 0 then, which is half of the
    work, and `lost_digits` tells afterwards whether that was too little. `deviations`: how h − shift is taken, in
    float64 or narrower; moments that are updated in turn may share it. The shift being itself one of the samples,

    - offsets common to all features cancel before anything is squared or summed;
    - samples that are all alike have a scatter of exactly 0;
    - n_c ‖μ_c − shift_c‖² ≤ n_c · scatter_c, so that taking it off costs at most n_c roundings.

    >>> moments = Moments(num_classes=2, dim=1)
    >>> moments.update(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]))
    >>> moments.means.tolist(), moments.scatter.tolist()
    ([[2.0], [5.0]], [2.0, 0.0])
    """

    def __init__(
        self,
        *,
        num_classes: int,
        dim: int,
        second_moments: str = "trace",
        shifted: bool = True,
        device: Optional[Union[str, torch.device]] = None,
        deviations: Optional[Deviations] = None,
    ) -> None:
        if num_classes < 1 or dim < 1:
            raise ValueError(f"num_classes and dim must be at least 1, not {num_classes} and {dim}")
        if second_moments not in ("trace", "matrix"):
            raise ValueError(f"second_moments must be 'trace' or 'matrix', not {second_moments!r}")
        self.counts = torch.zeros(num_classes, dtype=torch.int64, device=device)
        """(K,) samples seen"""
        self.shift = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        """(K, d) first sample seen; 0 where none was"""
        self.sums = torch.zeros_like(self.shift)
        """(K, d) Σ (h − shift)"""
        self.squares = torch.zeros(num_classes, dtype=torch.float64, device=device)
        """(K,) Σ ‖h − shift‖²"""
        self.products = GramSum(dim, device=device) if second_moments == "matrix" else None
        """(d, d) Σ (h − shift)(h − shift)ᵀ over all classes; None where only traces are kept"""
        self._shifted = shifted
        self._num_shifts = 0
        self._deviations = deviations or Deviations()
        self._centers = self.shift

    @classmethod
    def of(
        cls,
        *,
        counts: Tensor,
        means: Tensor,
        scatter: Tensor,
        shift: Optional[Tensor] = None,
        scatter_matrix: Optional[Tensor] = None,
    ) -> Moments:
        """Moments that somebody has: counts (K,), means (K, d) relative to `shift` (K, d), scatter (K,), (d, d) or not.

        Without a shift the means are absolute and become the shift themselves: relative to 0, the squares of an offset
        would swamp the scatter.

        >>> Moments.of(counts=torch.tensor([2]), means=torch.tensor([[5.0]]), scatter=torch.tensor([2.0])).means
        tensor([[5.]], dtype=torch.float64)
        """
        num_classes, dim = means.shape
        kind = "trace" if scatter_matrix is None else "matrix"
        moments = cls(num_classes=num_classes, dim=dim, second_moments=kind, device=means.device)
        offsets = torch.zeros_like(moments.shift) if shift is None else means.to(torch.float64)
        moments.counts = counts.to(torch.int64)
        moments.shift = (means if shift is None else shift).to(torch.float64)
        moments.sums = moments.counts[:, None] * offsets
        moments.squares = scatter.to(torch.float64) + (moments.sums * offsets).sum(dim=1)
        if moments.products is not None and scatter_matrix is not None:
            moments.products.total = scatter_matrix.to(torch.float64) + moments.sums.T @ offsets
        return moments

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
        scatter = (self.squares - (self.sums * self.offsets).sum(dim=1)).clamp(min=0)
        # A single sample is its own mean, whatever rounding makes of a shift that is not that sample.
        return torch.where(self.counts > 1, scatter, torch.zeros_like(scatter))

    @property
    def scatter_matrix(self) -> Optional[Tensor]:
        """(d, d) Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ, not divided by anything; None where only traces are kept."""
        return None if self.products is None else self.products.matrix() - self.sums.T @ self.offsets

    @property
    def lost_digits(self) -> bool:
        """Whether more than three digits of some class's scatter went when the squares of its mean were taken off."""
        spread = self.scatter <= LARGEST_CANCELLATION * self.squares
        return bool((spread & (self.counts > 1) & (self.squares > 0)).any())

    @torch.no_grad()
    def update(self, features: Tensor, class_indices: Tensor) -> None:
        """Take in a batch: features (n, d) of any floating dtype, class_indices (n,) in 0 … K−1.

        Raises ValueError where shapes or indices do not fit.
        """
        self._check(features, class_indices)
        if len(features):
            self.add(features, class_indices, torch.bincount(class_indices, minlength=len(self.counts)))

    @torch.no_grad()
    def add(self, features: Tensor, class_indices: Tensor, class_counts: Tensor) -> None:
        """Take in a batch that is known to be sound: `update` without its checks, for whoever has several layers.

        class_counts (K,): how often each index occurs. At least one sample.
        """
        relative = self.relative(features, class_indices)
        self.counts += class_counts
        add_by_class(self.sums, relative, class_indices)
        self.add_squares(torch.linalg.vector_norm(relative, dim=1), class_indices)
        if self.products is not None:
            self.products.add(relative.double())

    def relative(self, features: Tensor, class_indices: Tensor) -> Tensor:
        """Return h − shift (n, d) of a batch, in memory that the next call writes to; nothing is added up yet.

        The first sample of a class becomes its shift. Until `counts` has that sample, so does that of the next batch.
        """
        if not self._shifted:
            return self._deviations.copied(features)
        self._find_shift(features, class_indices)
        return self._deviations(features, self._centers, class_indices)

    def add_squares(self, norms: Tensor, class_indices: Tensor) -> None:
        """Take in ‖h − shift‖ (n,) of samples."""
        add_by_class(self.squares[:, None], norms.double().square_()[:, None], class_indices)

    @torch.no_grad()
    def merge(self, other: Moments) -> None:
        """Take in what another accumulated, as if its samples had come here.

        With δ = other.shift − shift: Σ (h − shift) = Σ (h − other.shift) + n δ, and likewise for the squares. Where
        the other has kept no matrix, there is none afterwards.
        """
        if other.shift.shape != self.shift.shape:
            mine, theirs = tuple(self.shift.shape), tuple(other.shift.shape)
            raise ValueError(f"moments of {mine} classes and dimensions cannot take in moments of {theirs}")
        # Where this side has seen nothing it takes over the other's shift; where the other has not, δ must not count.
        self.shift = torch.where((self.counts == 0)[:, None], other.shift, self.shift)
        delta = torch.where((other.counts == 0)[:, None], torch.zeros_like(self.shift), other.shift - self.shift)
        moved = other.sums + other.counts[:, None] * delta
        self.squares = self.squares + other.squares + (delta * (other.sums + moved)).sum(dim=1)
        if self.products is not None:
            self.products = self.products if other.products is not None else None
        if self.products is not None and other.products is not None:
            self.products.total = self.products.total + other.products.total + other.sums.T @ delta + delta.T @ moved
        self.sums = self.sums + moved
        self.counts = self.counts + other.counts

    def _find_shift(self, features: Tensor, class_indices: Tensor) -> None:
        """Take the first sample of every class that has none yet."""
        if self._num_shifts == self.counts.shape[0] or bool((self.counts > 0).all()):
            # Asked once: on a GPU the answer has to be waited for.
            self._num_shifts, self._centers = len(self.counts), self._centers.to(self._deviations.dtype)
            return
        rows = torch.arange(len(features), device=features.device)
        first = torch.full_like(self.counts, len(features)).scatter_reduce_(0, class_indices, rows, "amin")
        found = (self.counts == 0) & (first < len(features))
        self.shift[found] = features[first[found]].to(torch.float64)
        self._centers = self.shift.to(self._deviations.dtype)

    def _check(self, features: Tensor, class_indices: Tensor) -> None:
        num_classes, dim = self.shift.shape
        if features.ndim != 2 or features.shape[1] != dim:
            raise ValueError(f"features must be (n, {dim}), not {tuple(features.shape)}: flatten the trailing axes")
        if class_indices.shape != features.shape[:1]:
            wanted, found = tuple(features.shape[:1]), tuple(class_indices.shape)
            raise ValueError(f"class_indices must be {wanted}, one for each row of features, not {found}")
        if len(features) and not (int(class_indices.min()) >= 0 and int(class_indices.max()) < num_classes):
            raise ValueError(f"class_indices must lie in 0 … {num_classes - 1}: number the classes from 0")


class ProjectedScatter:
    """M̄ S M̄ᵀ (K × K), S the scatter matrix of `moments` and M̄ its class means minus their unweighted mean.

    What NC1 needs of S, by a second pass over the samples that `moments` has seen, at N·d·K instead of N·d². Those of
    several processes add up, if all were made with the same merged moments. Classes that were not seen stay out.

    >>> features, class_indices = torch.tensor([[1.0], [3.0], [6.0]]), torch.tensor([0, 0, 1])
    >>> moments = Moments(num_classes=2, dim=1)
    >>> moments.update(features, class_indices)
    >>> projected = ProjectedScatter(moments)
    >>> projected.update(features, class_indices)
    >>> projected.matrix().tolist()
    [[8.0, -8.0], [-8.0, 8.0]]
    """

    def __init__(self, moments: Moments) -> None:
        seen = (moments.counts > 0).nonzero()[:, 0]
        # Relative to a sample first: an offset common to all features cancels exactly.
        relative = (moments.shift[seen] - moments.shift[seen[0]]) + moments.offsets[seen]
        directions = torch.zeros_like(moments.shift)
        directions[seen] = relative - relative.mean(dim=0)
        self._means = moments.means
        self._directions = directions
        self._deviations = Deviations()
        self.products = GramSum(len(moments.counts), device=moments.shift.device)

    @torch.no_grad()
    def update(self, features: Tensor, class_indices: Tensor) -> None:
        """Take in a batch: features (n, d) of any floating dtype, class_indices (n,) in 0 … K−1."""
        self.products.add(self._deviations(features, self._means, class_indices) @ self._directions.T)

    def matrix(self) -> Tensor:
        """(K, K), symmetric, not divided by anything."""
        return self.products.matrix()


class GramSum:
    """Σ AᵀA of matrices A (n × m) that come one after the other; of the symmetric halves only one is computed."""

    BLOCK = 256
    """Columns of a block: below it the smaller products cost more than the half that they save."""

    def __init__(self, size: int, *, device: Optional[Union[str, torch.device]] = None) -> None:
        self.total = torch.zeros(size, size, dtype=torch.float64, device=device)
        """(m, m), of which the blocks below the diagonal are not kept up to date"""

    def add(self, rows: Tensor) -> None:
        """Take in one matrix, in float64."""
        for start in range(0, len(self.total), self.BLOCK):
            stop = start + self.BLOCK
            self.total[start:stop, start:].addmm_(rows[:, start:stop].T, rows[:, start:])

    def matrix(self) -> Tensor:
        """(m, m), both halves."""
        return self.total.triu() + self.total.triu(1).T


class Deviations:
    """h − centre of its class, in memory that serves every batch: fresh pages cost more than the sums.

    `dtype`: float32 takes half the time of float64 and rounds each difference once, at 6e-8 of itself; of an offset,
    where centre and feature are float32 or narrower, it loses nothing.
    """

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.dtype = dtype
        self._memory: dict[tuple[int, int, torch.device], Tensor] = {}

    def __call__(self, features: Tensor, centers: Tensor, class_indices: Tensor) -> Tensor:
        """Subtract centers[class_indices] (of K × d) from features (n × d); the result lasts until the next call."""
        own = self._buffer(1, features)
        torch.index_select(centers, 0, class_indices, out=own)
        if features.dtype == self.dtype:
            return torch.sub(features, own, out=own)
        return self.copied(features).sub_(own)  # promoted before, and not after, they are subtracted

    def copied(self, features: Tensor) -> Tensor:
        """The features themselves, in that dtype."""
        return self._buffer(0, features).copy_(features)

    def _buffer(self, index: int, features: Tensor) -> Tensor:
        rows, columns = features.shape
        key = (index, columns, features.device)
        buffer = self._memory.get(key)
        if buffer is None or buffer.shape[0] < rows:
            buffer = self._memory[key] = torch.empty(features.shape, dtype=self.dtype, device=features.device)
        return buffer if buffer.shape[0] == rows else buffer[:rows]


def add_by_class(totals: Tensor, values: Tensor, class_indices: Tensor) -> None:
    """Add each row of values (n, m) to the row of totals (K, m) that its class index names."""
    if values.is_cuda:
        # Atomic additions come in any order and give another last digit every time; a matrix product does not.
        one_hot = torch.nn.functional.one_hot(class_indices, len(totals))
        totals += one_hot.T.to(values.dtype) @ values
    elif values.dtype == totals.dtype:
        totals.index_add_(0, class_indices, values)
    else:
        totals += torch.zeros_like(totals, dtype=values.dtype).index_add_(0, class_indices, values)
