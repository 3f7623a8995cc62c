"""Where the search begins: random networks of a chosen rank, and disturbed solutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final

import torch
from torch import Tensor

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.search.objective import Flat, Objective

LARGEST_START_RANK: Final = 8
NOISE: Final = 0.1


@dataclass(frozen=True)
class Start:
    """A solution to begin from, of the reduced problem, of any widths."""

    name: str
    variables: Variables


def start_ranks(problem: Problem) -> list[int | None]:
    """Ranks to begin from, one after the other; None for all of them side by side.

    Optima have rank √(2K) at three layers, and less the deeper they are.
    """
    highest = ceil(sqrt(2 * problem.num_classes)) if problem.depth > 2 else 1
    return [None, *range(2, highest + 1)]


def random_starts(objective: Objective, runs: int, generator: torch.Generator, *, rank: int | None = None) -> Flat:
    """Networks that carry r random sparse features through all layers but the last hidden one.

    `rank` is r, at most as many as the layers are wide; without it each network draws one from 2 to 8. H_1 has r
    non-negative rows, the weights between are the identity on these, W_{L−1} draws random neurons and W_L decodes them;
    all with some noise. From normal weights of any scale deep networks fall to zero, and rarely to low rank.
    """
    widths, num_classes = objective.problem.widths, objective.problem.num_classes
    most = max(2, min(LARGEST_START_RANK, num_classes, min(widths[: max(1, len(widths) - 1)])))
    if rank is None:
        ranks = torch.randint(2, most + 1, (runs, 1, 1), generator=generator)
    else:
        ranks = torch.full((runs, 1, 1), min(rank, most))

    def carried(width: int) -> Tensor:
        return (torch.arange(width)[None, None, :] < ranks).float()

    first = torch.rand(runs, widths[0], num_classes, generator=generator)
    first = first * (torch.rand(first.shape, generator=generator) < 0.6) * carried(widths[0]).mT
    first *= ranks.sqrt() / first.norm(dim=(1, 2), keepdim=True).clamp_min(0.1)
    matrices = [first]
    for rows, columns in objective.shapes[1:-2]:
        matrices.append(torch.eye(rows, columns) * carried(columns))
    if len(widths) > 1:
        rows, columns = objective.shapes[-2]
        matrices.append(1.5 * _normal((runs, rows, columns), generator, columns=rows) * carried(columns))
    rows, columns = objective.shapes[-1]
    matrices.append(_normal((runs, rows, columns), generator, columns=columns))
    return torch.cat(
        [
            (matrix + NOISE * _normal(matrix.shape, generator, columns=max(matrix.shape[1:]))).flatten(1)
            for matrix in matrices
        ],
        dim=1,
    )


def disturb(objective: Objective, flat: Flat, generator: torch.Generator, *, way: int) -> Flat:
    """Each row a neighbour of the solution that it was; `way` (any integer) takes the `WAYS` in turn."""
    matrices = [matrix.clone() for matrix in objective.split(flat)]
    scales = [matrix.square().mean(dim=(1, 2), keepdim=True).sqrt() for matrix in matrices]
    WAYS[way % len(WAYS)](matrices, scales, generator)
    return torch.cat([matrix.flatten(1) for matrix in matrices], dim=1)


def _shake(matrices: list[Tensor], scales: list[Tensor], generator: torch.Generator) -> None:
    """Noise on everything, of 10 to 70 % of its size."""
    strength = 0.1 + 0.6 * torch.rand(matrices[0].shape[0], 1, 1, generator=generator)
    for matrix, scale in zip(matrices, scales, strict=True):
        matrix += strength * scale * _normal(matrix.shape, generator)


def _move_classes(matrices: list[Tensor], scales: list[Tensor], generator: torch.Generator) -> None:
    """Up to a third of the classes start next to others."""
    features = matrices[0]
    runs, _, num_classes = features.shape
    number = torch.randint(1, max(2, num_classes // 3) + 1, (runs, 1), generator=generator)
    moved = _permutations(runs, num_classes, generator) < number
    others = _permutations(runs, num_classes, generator)[:, None, :].expand_as(features)
    near = features.gather(2, others) + 0.5 * scales[0] * _normal(features.shape, generator)
    matrices[0] = torch.where(moved[:, None, :], near, features)
    for place in (-1, -2):
        matrices[place] += 0.2 * scales[place] * _normal(matrices[place].shape, generator)


def _new_neurons(matrices: list[Tensor], scales: list[Tensor], generator: torch.Generator) -> None:
    """The last two matrices, half of them drawn anew."""
    for place in (-1, -2):
        matrices[place] = 0.5 * matrices[place] + 0.9 * scales[place] * _normal(matrices[place].shape, generator)


def _swap_classes(matrices: list[Tensor], scales: list[Tensor], generator: torch.Generator) -> None:
    """Two classes change places, and the decoder must follow."""
    features = matrices[0]
    runs, _, num_classes = features.shape
    permutation = _permutations(runs, num_classes, generator)
    order = torch.arange(num_classes).repeat(runs, 1)
    first, second = permutation[:, :1], permutation[:, 1:2]
    order = order.scatter(1, first, second).scatter(1, second, first)
    swapped = features.gather(2, order[:, None, :].expand_as(features))
    matrices[0] = swapped + 0.1 * scales[0] * _normal(features.shape, generator)
    matrices[-1] += 0.3 * scales[-1] * _normal(matrices[-1].shape, generator)


WAYS: Final[tuple[Callable[[list[Tensor], list[Tensor], torch.Generator], None], ...]] = (
    _shake,
    _move_classes,
    _new_neurons,
    _swap_classes,
)
"""Each found the best solution of some cells that the others did not."""


def _permutations(runs: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(runs, size, generator=generator).argsort(dim=1)


def _normal(shape: tuple[int, ...] | torch.Size, generator: torch.Generator, *, columns: int = 1) -> Tensor:
    drawn: Tensor = torch.randn(shape, generator=generator) / columns**0.5
    return drawn
