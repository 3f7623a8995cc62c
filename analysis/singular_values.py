"""Singular values and directions, by the quick way where it loses nothing, and by the careful one elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float64
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
Matrix = Float64[Tensor, "_ _"]
Values = Float64[Tensor, " values"]
KnownGram = Callable[[], Matrix]
"""Gives AAᵀ, which is asked for only where it serves."""

LARGEST_GRAM = 8192
"""Rows of the largest product of a matrix with itself that is formed: 512 MiB, and a minute for its eigenvalues."""
SMALL = 64
"""Rows or columns up to which a singular value decomposition costs nothing that matters."""
WELL_CONDITIONED = 1e-4
"""Smallest over largest eigenvalue of AAᵀ above which its roots are good: they are off by about ε/(2 · 1e-4) = 1e-12,
relative. The eigenvalues of 1 000 × 1 000 take a tenth of the time of the singular values."""


@dataclass(frozen=True)
class Decomposition:
    """A = U S Vᵀ without the directions that are zero but for rounding; Vᵀ is made when it is asked for."""

    left: Matrix
    singular_values: Values
    matrix: Matrix

    @property
    def right(self) -> Matrix:
        """Vᵀ = S⁻¹UᵀA."""
        right: Tensor = (self.left / self.singular_values).T @ self.matrix
        return right


def singular_values(matrix: Matrix, *, gram: KnownGram | None = None) -> Values:
    """All min(rows, columns) singular values, largest first; gram: AAᵀ, for where that is known.

    >>> singular_values(torch.diag(torch.tensor([3.0, 4.0], dtype=torch.float64))).tolist()
    [4.0, 3.0]
    """
    smaller = _smaller_gram(matrix, gram)
    if smaller is not None:
        eigenvalues = torch.linalg.eigvalsh(smaller)
        if float(eigenvalues[0]) > WELL_CONDITIONED * float(eigenvalues[-1]):
            roots: Tensor = eigenvalues.flip(0).sqrt()
            return roots
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


def decompose(matrix: Matrix, *, gram: KnownGram | None = None) -> Decomposition:
    """Left directions and singular values of a matrix; gram: its AAᵀ, for where that is known."""
    left, values = _left_directions(matrix, gram)
    count = int((values > EPSILON * max(matrix.shape) * values[0]).sum()) if len(values) else 0
    return Decomposition(left=left[:, :count], singular_values=values[:count], matrix=matrix)


def decompose_rows(matrix: Matrix, *, null: Float64[Tensor, " _"], gram: KnownGram | None = None) -> Decomposition:
    """The same of a matrix with nullᵀ · matrix = 0; at most rows − 1 directions."""
    reduced_gram = (lambda: _reflect(_reflect(gram(), null).T, null)[1:, 1:]) if gram else None
    reduced = decompose(without_null_direction(matrix, null=null), gram=reduced_gram)
    left = _reflect(torch.nn.functional.pad(reduced.left, (0, 0, 1, 0)), null)
    return Decomposition(left=left, singular_values=reduced.singular_values, matrix=matrix)


def row_span(matrix: Matrix, kept: Values, *, gram: KnownGram | None = None) -> Matrix:
    """Orthonormal rows that span those of the matrix, but for the directions whose singular values are not `kept`."""
    if len(kept) == len(matrix) and float(kept[-1] / kept[0]) ** 2 > WELL_CONDITIONED:
        smaller = _smaller_gram(matrix, gram)
        if smaller is not None:
            # All of them: any orthonormal rows will do, and Cholesky's cost a tenth of the singular ones.
            rows: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(smaller), matrix, upper=False)
            return rows
    return decompose(matrix, gram=gram).right[: len(kept)]


def without_null_direction(matrix: Matrix, *, null: Float64[Tensor, " _"]) -> Matrix:
    """The same matrix in one row less: nullᵀ · matrix = 0, so a reflection that takes `null` to e_1 leaves a row of 0.

    Its singular values are those of the matrix but for one 0, which rounding would show as something else.
    """
    return _reflect(matrix, null)[1:]


def _reflect(matrix: Matrix, null: Float64[Tensor, " _"]) -> Matrix:
    """Householder's reflection between null/‖null‖ and −e_1: away from it, so that nothing cancels."""
    axis = null / null.norm()
    axis[0] += 1.0 if axis[0] >= 0 else -1.0
    return torch.addr(matrix, axis * (2 / axis.square().sum()), axis @ matrix, alpha=-1)


def _left_directions(matrix: Matrix, known: KnownGram | None) -> tuple[Matrix, Values]:
    gram = _smaller_gram(matrix, known)
    if gram is not None:
        eigenvalues, vectors = torch.linalg.eigh(gram)
        if float(eigenvalues[0]) > WELL_CONDITIONED * float(eigenvalues[-1]):
            values = eigenvalues.flip(0).sqrt()
            vectors = vectors.flip(1)
            return (vectors if len(gram) == len(matrix) else matrix @ (vectors / values)), values
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    return left, values


def _smaller_gram(matrix: Matrix, known: KnownGram | None = None) -> Matrix | None:
    """AAᵀ or AᵀA, whichever is smaller; None where a decomposition of A itself is as cheap, or squares overflow."""
    if min(matrix.shape) <= SMALL:
        return None
    largest = float(matrix.abs().max())
    if not 1e-100 < largest < sqrt(torch.finfo(torch.float64).max) / max(matrix.shape):
        return None
    if matrix.shape[0] > matrix.shape[1]:
        return matrix.T @ matrix
    return known() if known else matrix @ matrix.T
