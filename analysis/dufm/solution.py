"""A solution that is known without a search, with its loss and its matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.rescaling import expand, pad


@dataclass(frozen=True)
class Solution:
    """One of a problem's known solutions."""

    name: str
    problem: Problem
    loss: float
    rank: int
    """of M_L, the class means of the last hidden layer before the ReLU; of the output at depth 1"""
    widths: tuple[int, ...]
    """neurons that it needs: d_1 … d_L"""
    build: Callable[[], Variables]
    """Its matrices in `problem.reduced`, as narrow as `widths`."""

    @property
    def variables(self) -> Variables:
        """Its matrices in the problem: float64, one run, the problem's widths, samples and decays.

        Built when asked for. Raises ValueError where a decay is 0, but for zeros.
        """
        padded = pad(self.build(), self.problem.widths)
        if not any(self.widths):
            features = padded.features.repeat_interleave(self.problem.samples_per_class, dim=2)
            return Variables(features, padded.weights)
        return expand(self.problem, padded)


class UndefinedReference(ValueError):
    """The problem has no such solution; the text says why."""
