"""The singular values that a report shows on request."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.class_means import finite
from analysis.errors import UndefinedMetric
from analysis.statistics import LayerStatistics

LARGEST_GRAM = 8192
"""Rows of the largest Gram matrix that is formed: 512 MiB, and a minute for its eigenvalues."""

Values = Float64[Tensor, " values"]


def needs_residual_gram(*, num_samples: int, dim: int) -> bool:
    """Whether the feature spectrum comes from RᵀR, which the second pass must then add up."""
    return dim <= min(num_samples, LARGEST_GRAM)


def feature_singular_values(layer: LayerStatistics, tiles: Iterable[tuple[Tensor, Tensor]]) -> Values:
    """min(N, d) singular values of the features H (N × d, not centred), by the smaller of HᵀH and HHᵀ.

    Those under 1e-8 of the largest are lost in the squares. HᵀH = RᵀR + Σ_c n_c μ_c μ_cᵀ comes from the second pass
    over the samples, R the residuals; HHᵀ is put together from pairs of tiles.
    """
    if min(layer.num_samples, layer.dim) > LARGEST_GRAM:
        raise UndefinedMetric(
            "feature_spectrum_too_large",
            f"the smaller Gram matrix of {layer.num_samples} × {layer.dim} features has more than {LARGEST_GRAM} rows: "
            f"send at most {LARGEST_GRAM} samples, or leave out the spectrum of the features",
        )
    if needs_residual_gram(num_samples=layer.num_samples, dim=layer.dim):
        residual_gram = layer.residuals.gram
        assert residual_gram is not None, "the statistics were made without full_residual_gram"
        weighted = layer.class_means * layer.samples_per_class[:, None]
        gram = residual_gram + layer.class_means.T @ weighted
    else:
        blocks = [torch.cat([_products(rows, columns) for columns, _ in tiles], dim=1) for rows, _ in tiles]
        gram = torch.cat(blocks)
    eigenvalues: Tensor = torch.linalg.eigvalsh(finite(gram, "the inner products of the features"))
    return eigenvalues.flip(0).clamp(min=0).sqrt()


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    return rows.to(torch.float64) @ columns.to(torch.float64).T
