"""The least loss of a network with given symmetries: starts, descent, and an end that is exact at the ReLU's kinks.

At the best solutions many pre-activations are 0, where the loss has kinks and a gradient method stalls. For a fixed
pattern of signs the loss is smooth, and so are the constraints that the pattern makes: on such a piece sequential
quadratic programming converges to full precision. Where it ends at the piece's border, the pieces across are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.optimize import minimize, nnls

from analysis.dufm.families.equivariant import Equivariant, Pattern, Point
from analysis.dufm.families.symmetry import Matrix
from analysis.dufm.shrinkage import shrink

ON_THE_BORDER: Final = 1e-7
"""A pre-activation that is no larger is taken for 0 when the neighbouring pieces are tried."""
GAIN: Final = 1e-11
"""By which a neighbouring piece must lower the loss to be taken."""
NEAR: Final = 0.05
"""Share of the largest pre-activation, up to which one may come to 0 while the last digits are found."""
STATIONARY: Final = 1e-4
"""Distance of a gradient from those that lead nowhere, over λ̄ times the norm of the variables."""
RIDGE: Final = 0.1
LARGEST: Final = 0.9
"""s of a start that does best at 0."""


@dataclass(frozen=True)
class Start:
    """Where to begin: the class means of the first hidden layer, and the weights into the last one."""

    first: Matrix
    """M_2, d_2 × K"""
    last: Matrix
    """W_{L−1}, d_L × d_{L−1}"""


@runtime_checkable
class Reduced(Protocol):
    """The loss as a function of few variables: `Equivariant`, and what is made of it."""

    @property
    def decay(self) -> float:
        """λ̄."""
        ...

    def value_and_gradient(self, point: Point, pattern: Pattern | None = None) -> tuple[float, Point]:
        """The loss; with a pattern, of the network whose ReLU is linear: 1 on the pattern, 0 off it."""
        ...

    def pre_activations(
        self, point: Point, pattern: Pattern
    ) -> tuple[Float64[ndarray, " orbits"], Float64[ndarray, "orbits variables"]]:
        """Those that have kinks, of the network with this pattern, and their derivatives by the variables."""
        ...

    def pattern(self, point: Point, *, tolerance: float = 0.0) -> Pattern:
        """Where they are above the tolerance."""
        ...


def least(problem: Reduced, starts: list[Point]) -> tuple[Point, float]:
    """The minimum that the best of the starts leads to, and its loss; no better than zero: zeros and ½."""
    descended = [descend(problem, start) for start in starts]
    best = min(descended, key=lambda point: problem.value_and_gradient(point)[0])
    point, loss = polish(problem, best)
    return (point, loss) if loss < 0.5 else (np.zeros_like(point), 0.5)


def begin(problem: Equivariant, start: Start) -> Point:
    """W_1 H_1 = M_2 in balance, identities between, W_L by ridge regression on the targets; all of the best size."""
    left, values, right = np.linalg.svd(start.first, full_matrices=False)
    root = left * np.sqrt(values)
    identities = [np.eye(len(start.first))] * (len(problem.labels) - 4)
    last_hidden = (start.last @ start.first.clip(0)).clip(0)
    gram = last_hidden.T @ last_hidden
    decoder = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), last_hidden.T)
    return rescaled(problem, problem.project([root @ right, root @ left.T, *identities, start.last, decoder]))


def rescaled(problem: Equivariant, point: Point) -> Point:
    """The point with all matrices' norms equal, and of the size that is best.

    With unit norms, and the output Z then multiplied by t, the loss is ½ − a t + ½ b t² + (L+1)/2 λ̄ t^(2/(L+1)),
    a = tr(Z)/K, b = ‖Z‖²/K: `shrink` in the variable s = b t / a.
    """
    parts = [part / max(float(np.linalg.norm(part)), 1e-30) for part in np.split(point, problem.cuts)]
    unit = np.concatenate(parts)
    features, *weights = parts
    activation = features
    for index, (product, weight) in enumerate(zip(problem.products, weights, strict=True)):
        output = product @ activation @ weight
        activation = output.clip(0) if index < len(weights) - 1 else output
    target, shares = problem.target
    slope, square = float(shares @ (output * target)), float(shares @ output**2)
    if slope <= 0:
        return unit
    count = len(parts)
    gained = slope**2 / square
    s, _ = shrink(count / 2 * problem.decay * (slope / square) ** (2 / count) / gained, 2 / count)
    return np.asarray(unit * ((s or LARGEST) * slope / square) ** (1 / count))


def descend(problem: Reduced, point: Point) -> Point:
    """Quasi-Newton descent, kinks or not: close to a local minimum."""
    options = {"maxiter": 400, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(problem.value_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x, dtype=np.float64)


def polish(problem: Reduced, point: Point, *, attempts: int = 50) -> tuple[Point, float]:
    """The minimum on the point's piece, and on from piece to piece while a neighbour is better: (point, loss).

    attempts: neighbours that are minimised over, at most, of those where the point is not stationary.
    """
    pattern = problem.pattern(point, tolerance=ON_THE_BORDER)
    point, loss = on_piece(problem, point, pattern)
    improved = True
    while improved:
        improved = False
        for neighbour in _neighbours(problem, point, pattern):
            if attempts == 0:
                return point, loss
            if not is_stationary(problem, point, neighbour):
                attempts -= 1
                candidate, candidate_loss = on_piece(problem, point, neighbour)
                improved = candidate_loss < loss - GAIN
            if improved:
                point, loss, pattern = candidate, candidate_loss, neighbour
                break
    return point, loss


def on_piece(problem: Reduced, point: Point, pattern: Pattern) -> tuple[Point, float]:
    """The minimum over the networks whose pre-activations have the signs of the pattern, or are 0; the true loss there.

    Pre-activations far from 0 are no constraints, which saves most of the time. Should one have crossed 0, or rounding
    have left one on the wrong side: the loss is that of the network as it is, and what is no better is not taken.
    """
    signs = np.where(np.concatenate(pattern), 1.0, -1.0)
    values, _ = problem.pre_activations(point, pattern)
    near = np.abs(values) < NEAR * np.abs(values).max()
    constraint = {
        "type": "ineq",
        "fun": lambda at: (signs * problem.pre_activations(at, pattern)[0])[near],
        "jac": lambda at: (signs[:, None] * problem.pre_activations(at, pattern)[1])[near],
    }
    found = minimize(
        problem.value_and_gradient,
        point,
        args=(pattern,),
        jac=True,
        method="SLSQP",
        constraints=[constraint] if near.any() else [],
        options={"maxiter": 200, "ftol": 1e-15},
    )
    loss, found_loss = (problem.value_and_gradient(at)[0] for at in (point, found.x))
    return (found.x, found_loss) if found_loss < loss else (point, loss)


def is_stationary(problem: Reduced, point: Point, pattern: Pattern) -> bool:
    """Whether no move within the piece of this pattern lowers the loss, to first order (Karush, Kuhn, Tucker).

    The gradient is then a combination, with multipliers ≥ 0, of those of the constraints that are 0 at the point.
    """
    _, gradient = problem.value_and_gradient(point, pattern)
    values, derivatives = problem.pre_activations(point, pattern)
    active = np.abs(values) < ON_THE_BORDER
    signs = np.where(np.concatenate(pattern), 1.0, -1.0)[active]
    _, distance = nnls((signs[:, None] * derivatives[active]).T, gradient)
    return bool(distance < STATIONARY * problem.decay * np.linalg.norm(point))


def _neighbours(problem: Reduced, point: Point, pattern: Pattern) -> Iterator[Pattern]:
    """The pieces across the borders that the point is on, one border at a time."""
    values, _ = problem.pre_activations(point, pattern)
    for orbit in np.flatnonzero(np.abs(values) < ON_THE_BORDER):
        flat = np.concatenate(pattern)
        flat[orbit] = ~flat[orbit]
        yield tuple(np.split(flat, np.cumsum([len(part) for part in pattern])[:-1]))
