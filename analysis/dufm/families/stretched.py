"""The reduced problem of depth L among shallower networks, stretched: layers that only scale are put in between.

A layer in between has to take α B to α′ B, B the rows of the elements. Of the equivariant W = p I + q J that do so
after the ReLU, q ≤ 0, ‖W‖ is least at q = 0 for the edges of a complete graph; and p is the same for all, as their
decays are. What is left to minimise has the same few variables and kinks at every depth. Where the ReLU cuts nothing,
so that B is not what is carried on, q > 0 can be better: then it is but a start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from analysis.dufm.families.equivariant import Equivariant, Pattern, Point
from analysis.dufm.families.minimum import ON_THE_BORDER, Start, begin
from analysis.dufm.families.network import Network


@dataclass(frozen=True)
class Stretched:
    """The loss as a function of the variables of the core and, last, of the p of the layers p I after its first."""

    core: Equivariant
    repeats: int
    """Layers p I: L less the depth of the core."""

    @property
    def decay(self) -> float:
        """λ̄."""
        return self.core.decay

    @cached_property
    def width(self) -> int:
        """Neurons of a layer in between."""
        return len(self.core.labels[1])

    def begin(self, start: Start) -> Point:
        """The core's beginning with all norms made equal, those of the layers in between, too; the output is kept."""
        core = begin(self.core, start)
        count = len(self.core.labels)
        norm = float(np.linalg.norm(core)) / np.sqrt(count)  # of each of its matrices
        size = (norm**count * self.width ** (self.repeats / 2)) ** (1 / (count + self.repeats))
        return np.append(core * (size / norm), size / np.sqrt(self.width))

    def value_and_gradient(self, point: Point, pattern: Pattern | None = None) -> tuple[float, Point]:
        """As `Equivariant.value_and_gradient`. The output is multiplied by all the p, as if W_L were."""
        decoder, scale = point[self.core.cuts[-1] : -1], point[-1]
        gain = scale**self.repeats
        loss, gradient = self.core.value_and_gradient(self._at(point, gain), pattern)
        of_fit = gradient[self.core.cuts[-1] :] - self.decay * gain * decoder
        squares = (1 - gain**2) * (decoder @ decoder) + self.repeats * self.width * scale**2
        of_gain = scale ** max(self.repeats - 1, 0) * (of_fit @ decoder)
        of_scale = self.repeats * (of_gain + self.decay * self.width * scale)
        gradient[self.core.cuts[-1] :] = gain * of_fit + self.decay * decoder
        return loss + self.decay / 2 * float(squares), np.append(gradient, of_scale)

    def pre_activations(
        self, point: Point, pattern: Pattern
    ) -> tuple[Float64[ndarray, " orbits"], Float64[ndarray, "orbits variables"]]:
        """Of the core: those of the other layers have the same signs, as long as p > 0."""
        values, derivatives = self.core.pre_activations(point[:-1], pattern)
        return values, np.pad(derivatives, ((0, 0), (0, 1)))

    def pattern(self, point: Point, *, tolerance: float = 0.0) -> Pattern:
        """Where the core's pre-activations are above the tolerance."""
        return self.core.pattern(point[:-1], tolerance=tolerance)

    def is_exact(self, point: Point) -> bool:
        """Whether B is what is carried on: the ReLU cuts something off every layer but the last."""
        return self.repeats == 0 or not any(
            passed.all() for passed in self.pattern(point, tolerance=ON_THE_BORDER)[:-1]
        )

    def network(self, point: Point) -> Network:
        """The network of depth L."""
        features, first, *others = self.core.matrices(point[:-1])
        between = (point[-1] * np.eye(self.width),) * self.repeats
        return Network(features, (first, *between, *others))

    def _at(self, point: Point, gain: float) -> Point:
        at = point[:-1].copy()
        at[self.core.cuts[-1] :] *= gain
        return at
