"""The full second moments of a layer, from the smaller of the d × d and N × N matrices; formed only when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from analysis.class_means import ClassMeans, finite
from analysis.errors import UndefinedMetric
from analysis.singular_values import LARGEST_GRAM

CHEAP_MULTIPLY_ADDS = 2e9
"""What is computed without being asked for: some tens of milliseconds."""

Values = Float64[Tensor, " values"]
Square = Float64[Tensor, "size size"]
Way = Literal["columns", "rows"]


class SecondMoments(ABC):
    """What follows from the second moments of all features."""

    @abstractmethod
    def feature_singular_values(self) -> Values:
        """All min(N, d) of H (N × d, not centred), largest first; those under 1e-8 of the first are lost."""

    @abstractmethod
    def between_class_share(self) -> float:
        """tr(Σ_T⁺ Σ_B), Σ_T = Σ_W + Σ_B: how many directions' worth of the total variance lies between classes."""


def choose_way(
    *, num_samples: int, num_classes: int, dim: int, budget: float, has_samples: bool
) -> Way | UndefinedMetric:
    """Which matrix to form: "columns", d × d, or "rows", N × N; or why none is. budget: multiply-adds, at most.

    >>> choose_way(num_samples=1000, num_classes=10, dim=64, budget=CHEAP_MULTIPLY_ADDS, has_samples=True)
    'columns'
    """
    by_rows = num_samples < dim and has_samples
    smaller, larger = (num_samples, dim) if by_rows else (dim, num_samples)
    if smaller > LARGEST_GRAM:
        return UndefinedMetric(
            "second_moments_too_large",
            f"the smaller Gram matrix of {num_samples} × {dim} features has more than {LARGEST_GRAM} rows: send "
            f"at most {LARGEST_GRAM} samples, or leave out what needs the spectrum of the features",
        )
    # Where d < K the d × d matrix is there anyway: it is the smaller one for NC1.
    if smaller**2 * larger > budget and dim >= num_classes:
        return UndefinedMetric(
            "second_moments_not_asked_for",
            f"this needs all second moments of {num_samples} × {dim} features, which cost more than the rest of the "
            "report: ask for them with spectra=features, or by the metric's name",
        )
    return "rows" if by_rows else "columns"


class ColumnSecondMoments(SecondMoments):
    """From the d × d scatter matrix S = Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ."""

    def __init__(self, layer: ClassMeans, scatter_matrix: Square) -> None:
        self._layer = layer
        self._scatter_matrix = finite(scatter_matrix, "the second moments of the features")

    def feature_singular_values(self) -> Values:
        """By HᵀH = S + Σ_c n_c μ_c μ_cᵀ."""
        means, counts = self._layer.class_means, self._layer.moments.counts
        values = _roots(self._scatter_matrix + means.T @ (means * counts[:, None]))
        return values[: min(len(values), int(counts.sum()))]

    def between_class_share(self) -> float:
        """By the eigenvectors of Σ_T: Σ_k q_kᵀ Σ_B q_k / λ_k over those that are not zero but for rounding."""
        rows = self._layer.between_class_rows
        between = rows.T @ rows / self._layer.num_classes
        total = self._scatter_matrix / int(self._layer.moments.counts.sum()) + between
        eigenvalues, vectors = torch.linalg.eigh(finite(total, "the total covariance"))
        kept = eigenvalues > _rounding(eigenvalues)
        vectors = vectors[:, kept]
        return float(((rows @ vectors).square().sum(dim=0) / eigenvalues[kept]).sum()) / self._layer.num_classes


class RowSecondMoments(SecondMoments):
    """From the N × N Gram matrix of the samples, put together from pairs of tiles; where N < d."""

    def __init__(self, layer: ClassMeans, tiles: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._layer = layer
        self._tiles = tiles

    def feature_singular_values(self) -> Values:
        """By HHᵀ."""
        return _roots(self._gram(torch.zeros_like(self._layer.class_means[0])))

    def between_class_share(self) -> float:
        """By the Gram matrix of X = [R/√N; B/√K], XᵀX = Σ_T: what its column space has of the last K coordinates."""
        layer, class_indices = self._layer, self._class_indices()
        counts, shares = layer.moments.counts, layer.class_shares
        one_hot = torch.nn.functional.one_hot(class_indices, layer.num_classes).to(shares.dtype)
        averaging = (one_hot / counts).T
        identity = torch.eye(len(one_hot), dtype=shares.dtype, device=shares.device)
        between = shares.sqrt()[:, None] * (averaging - shares @ averaging)
        combine = torch.cat([(identity - one_hot @ averaging) / len(one_hot) ** 0.5, between])
        # Relative to a mean: an offset common to all features would cost the digits of what is combined here.
        gram = combine @ self._gram(layer.class_means.mean(dim=0)) @ combine.T
        eigenvalues, vectors = torch.linalg.eigh(finite((gram + gram.T) / 2, "the total covariance"))
        kept = vectors[-layer.num_classes :, eigenvalues > _rounding(eigenvalues)]
        return float(kept.square().sum())

    def _gram(self, center: Float64[Tensor, " dim"]) -> Square:
        blocks = [torch.cat([_products(a, b, center) for b, _ in self._tiles], dim=1) for a, _ in self._tiles]
        return finite(torch.cat(blocks), "the inner products of the features")

    def _class_indices(self) -> Int64[Tensor, " samples"]:
        return torch.cat([class_indices for _, class_indices in self._tiles])


def _products(rows: Tensor, columns: Tensor, center: Tensor) -> Tensor:
    return (rows.to(torch.float64) - center) @ (columns.to(torch.float64) - center).T


def _rounding(eigenvalues: Values) -> float:
    """Below it an eigenvalue is zero but for rounding."""
    return len(eigenvalues) * torch.finfo(torch.float64).eps * float(eigenvalues[-1])


def _roots(gram: Square) -> Values:
    """Singular values from squares; what is zero but for rounding is 0, and not what rounding made of it."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(finite(gram, "the inner products of the features"))
    kept = torch.where(eigenvalues > 4 * _rounding(eigenvalues), eigenvalues, 0)
    roots: Tensor = kept.flip(0).sqrt()
    return roots
