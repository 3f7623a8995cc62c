"""The best solutions so far."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.dufm.search.objective import Flat

DIFFERENT: Final = 2e-5
"""Solutions whose losses are closer than this count as one: most are the same but for the order of classes."""


class Pool:
    """A few solutions of different loss, the best first, each with the name of the start that it comes from."""

    def __init__(self, *, size: int, variables: int, device: str) -> None:
        self.size = size
        self.flats: Flat = torch.empty(0, variables, device=device)
        self.losses: Float[Tensor, " solutions"] = torch.empty(0, device=device)
        self.names: list[str] = []

    @property
    def best(self) -> float:
        """The least loss; infinite while there is none."""
        return float(self.losses[0]) if self.names else float("inf")

    def add(self, flats: Flat, losses: Tensor, names: Sequence[str]) -> None:
        """Take in what is better than what is there."""
        flats, losses = torch.cat([self.flats, flats]), torch.cat([self.losses, losses])
        names = [*self.names, *names]
        values = losses.tolist()
        kept: list[int] = []
        for place in sorted(filter(lambda place: isfinite(values[place]), range(len(values))), key=values.__getitem__):
            if not kept or values[place] - values[kept[-1]] > DIFFERENT:
                kept.append(place)
        kept = kept[: self.size]
        self.flats, self.losses, self.names = flats[kept], losses[kept], [names[place] for place in kept]

    def parents(self, number: int, generator: torch.Generator) -> tuple[Flat, list[str]]:
        """So many of them with repetitions, the better ones oftener; on the CPU."""
        places = (torch.rand(number, generator=generator) ** 2 * len(self.names)).long()
        return self.flats[places.to(self.flats.device)].cpu(), [self.names[place] for place in places.tolist()]
