"""Distances between class means, right also for two that are close among many that are far."""

from __future__ import annotations

from jaxtyping import Float64
from torch import Tensor

CLOSE = 1e-3
"""Share of the squared norms under which a distance from inner products has lost more than three digits of sixteen."""
CHUNK_BYTES = 16 << 20


def pairwise_squared_distances(
    points: Float64[Tensor, "points dim"], *, gram: Float64[Tensor, "points points"]
) -> Float64[Tensor, "points points"]:
    """‖x_i − x_j‖² from the inner products of the points; from the differences where that cancels.

    Never points × points × dim: close pairs are taken in chunks.

    >>> import torch
    >>> points = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    >>> pairwise_squared_distances(points, gram=points @ points.T).tolist()
    [[0.0, 25.0], [25.0, 0.0]]
    """
    norms = gram.diagonal()
    scale = norms[:, None] + norms
    distances = (scale - 2 * gram).fill_diagonal_(0)
    first, second = (distances.triu(1) + scale.tril() < CLOSE * scale).nonzero().unbind(dim=1)
    rows = max(1, CHUNK_BYTES // (8 * points.shape[1]))
    for start in range(0, len(first), rows):
        i, j = first[start : start + rows], second[start : start + rows]
        exact = (points[i] - points[j]).square().sum(dim=1)
        distances[i, j] = exact
        distances[j, i] = exact
    return distances
