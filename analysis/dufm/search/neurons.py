"""Layers made narrower and wider without a change of the loss."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from analysis.dufm.model import Variables

DEAD = 1e-6
"""A neuron is dead if its incoming or its outgoing weights are below this share of the largest of its layer."""

SMALLEST = 1e-30
"""In place of a norm of 0, so that 0 divided by it is 0; float32 has it, too."""
PARALLEL = 1e-3
"""Neurons are parallel if 1 − cos of both their sides is below this."""


def resize(variables: Variables, widths: tuple[int, ...]) -> Variables | None:
    """The same network with layers of these widths: zero neurons added, dead ones removed.

    None if living neurons are left over. Of one run.
    """
    matrices = [tensor[0] for tensor in variables.tensors]
    for layer, width in enumerate(widths):
        incoming, outgoing = matrices[layer], matrices[layer + 1]
        order = _living_first(incoming, outgoing)
        living = int(_alive(incoming, outgoing).sum())
        if living > width:
            return None
        kept = order[: min(width, len(order))]
        matrices[layer] = _pad(incoming[kept], rows=width)
        matrices[layer + 1] = _pad(outgoing[:, kept].mT, rows=width).mT
    features, *weights = (matrix[None].contiguous() for matrix in matrices)
    return Variables(features, tuple(weights))


def merge_parallel(variables: Variables) -> Variables:
    """Neurons that see the same and say the same, one in place of several; the loss changes as they differ.

    Σ_i b_i σ(⟨a_i u, x⟩) v = (Σ_i a_i b_i) σ(⟨u, x⟩) v, and the least norm for that product is two equal factors. Of
    one run.
    """
    matrices = [tensor[0] for tensor in variables.tensors]
    for layer in range(1, len(matrices) - 1):
        incoming, outgoing = matrices[layer], matrices[layer + 1]
        seen, said = incoming.norm(dim=1).clamp_min(SMALLEST), outgoing.norm(dim=0).clamp_min(SMALLEST)
        directions, answers = incoming / seen[:, None], outgoing / said
        alike = torch.minimum(directions @ directions.mT, answers.mT @ answers) > 1 - PARALLEL
        first = alike.int().argmax(dim=1)  # the first neuron of each group
        leaders = torch.unique(first)
        together = (first[None, :] == leaders[:, None]).to(incoming.dtype) * (seen * said)
        strength = together.sum(dim=1).sqrt()
        matrices[layer] = _unit(together @ directions, dim=1) * strength[:, None]
        matrices[layer + 1] = _unit(answers @ together.mT, dim=0) * strength
    features, *weights = (matrix[None].contiguous() for matrix in matrices)
    return Variables(features, tuple(weights))


def _unit(matrix: Tensor, *, dim: int) -> Tensor:
    unit: Tensor = matrix / matrix.norm(dim=dim, keepdim=True).clamp_min(SMALLEST)
    return unit


def living_widths(variables: Variables) -> tuple[int, ...]:
    """How many neurons of each layer are of use."""
    matrices = [tensor[0] for tensor in variables.tensors]
    return tuple(max(1, int(_alive(incoming, outgoing).sum())) for incoming, outgoing in pairwise(matrices))


def _strength(incoming: Tensor, outgoing: Tensor) -> Tensor:
    """Of each neuron, relative to the strongest: the weaker of its two sides."""
    sides = torch.stack([incoming.norm(dim=1), outgoing.norm(dim=0)])
    if not sides.numel():
        return sides[0]  # the zero solution may come without any
    return (sides / sides.amax(dim=1, keepdim=True).clamp_min(SMALLEST)).amin(dim=0)


def _alive(incoming: Tensor, outgoing: Tensor) -> Tensor:
    return _strength(incoming, outgoing) > DEAD


def _living_first(incoming: Tensor, outgoing: Tensor) -> Tensor:
    """The living neurons in their order, then the dead ones."""
    return (~_alive(incoming, outgoing)).int().argsort(stable=True)


def _pad(matrix: Tensor, *, rows: int) -> Tensor:
    missing = rows - matrix.shape[0]
    return torch.cat([matrix, matrix.new_zeros(missing, matrix.shape[1])]) if missing else matrix
