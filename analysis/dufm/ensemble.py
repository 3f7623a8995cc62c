"""Several runs trained side by side: one leaves the batch when it has converged or diverged, and no other notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from analysis.dufm.descent import Descent
from analysis.dufm.model import Losses, Variables, losses_and_gradients
from analysis.dufm.problem import Problem
from analysis.dufm.recording import Recording
from analysis.dufm.report import StopReason
from analysis.dufm.structure import are_zero, zero_loss

CHECK_STEPS: Final = 200
"""Between two looks at whether runs have converged or diverged: a look costs what a few steps cost."""
DIVERGED: Final = 1e4
"""Times the loss at the start, or that of the zero solution where this is larger: nothing comes back from there."""
VANISHED: Final = 1e-12
"""Share of the zero solution's loss that is left of a run which can only go on towards zero."""


class Ending(NamedTuple):
    """How one run has ended; of a run that has diverged, with the last losses that were finite."""

    reason: StopReason
    steps: int
    losses: tuple[float, float, float] | None
    """loss, fit and regularization; None where they were not finite from the start"""
    gradient_norm: float | None
    """‖∇Loss‖ over the norm of all variables; None where that is 0/0, and of a run that has diverged"""


class Ensemble:
    """The runs of a training, from their start to their end."""

    def __init__(
        self, problem: Problem, descent: Descent, recording: Recording, *, gradient_norm: float | None
    ) -> None:
        """gradient_norm: at which a run has converged; None: every run takes all steps."""
        self.problem, self._descent, self._recording = problem, descent, recording
        self._converged_at = gradient_norm
        variables = descent.variables
        self._under_way = torch.arange(len(variables.features))
        features, *weights = (torch.full_like(tensor, torch.nan, device="cpu") for tensor in variables.tensors)
        self.final = Variables(features, tuple(weights))
        """of all runs; of those that have diverged, nothing"""
        self.endings: dict[int, Ending] = {}
        self._known: dict[int, tuple[float, ...]] = {}
        self._limits: Float64[Tensor, " runs"] | None = None
        self._step = 0

    def train(self, steps: int, hear: Callable[[int], None]) -> None:
        """Take so many steps, or as many as it takes until every run has stopped; `hear` is told the step."""
        while len(self._under_way):
            self._look(last=self._step >= steps, hear=lambda: hear(self._step))
            if len(self._under_way):
                following = min(self._next(CHECK_STEPS), self._next(self._recording.interval), steps)
                self._descent.advance(following - self._step, lambda: hear(self._step))
                self._step = following

    def _next(self, interval: int) -> int:
        return (self._step // interval + 1) * interval

    def _look(self, *, last: bool, hear: Callable[[], None]) -> None:
        """Judge and record the runs of the batch; those that stop are kept and taken out."""
        found, gradient = losses_and_gradients(self.problem, self._descent.variables)
        norms = _norms(gradient) / _norms(self._descent.variables)
        diverged = self._diverged(found, norms)
        converged = self._converged(found, norms) & ~diverged
        stopped = torch.full_like(diverged, last) | diverged | converged
        self._note(found, norms, there=~diverged)
        self._record(~diverged if last or self._step % self._recording.interval == 0 else converged, hear)
        for row in stopped.nonzero()[:, 0].tolist():
            reason: StopReason = "diverged" if diverged[row] else "converged" if converged[row] else "step_limit"
            self._end(row, reason)
        if bool(stopped.any()):
            self._keep((~stopped).nonzero()[:, 0])

    def _diverged(self, found: Losses, norms: Float64[Tensor, " runs"]) -> Bool[Tensor, " runs"]:
        if self._limits is None:
            self._limits = DIVERGED * found.loss.clamp(min=zero_loss(self.problem))
        # Not the gradient norm's NaN: where all variables are 0 it is 0/0.
        return ~(found.loss <= self._limits) | ~found.loss.isfinite() | norms.isinf()

    def _converged(self, found: Losses, norms: Float64[Tensor, " runs"]) -> Bool[Tensor, " runs"]:
        if self._converged_at is None:
            return torch.zeros_like(norms, dtype=torch.bool)
        vanished = are_zero(self.problem, found, tolerance=VANISHED)
        return (norms <= self._converged_at) | (vanished & shrinks(self.problem, self._descent.variables))

    def _note(self, found: Losses, norms: Float64[Tensor, " runs"], *, there: Bool[Tensor, " runs"]) -> None:
        table = torch.stack([found.loss, found.fit, found.regularization, norms], dim=1)[there]
        for run, numbers in zip(self._under_way[there.cpu()].tolist(), table.tolist(), strict=True):
            self._known[run] = tuple(numbers)

    def _record(self, which: Bool[Tensor, " runs"], hear: Callable[[], None]) -> None:
        rows = which.nonzero()[:, 0]
        if len(rows):
            self._recording.record(
                self._step, self._under_way[rows.cpu()].tolist(), self._descent.variables.select(rows), hear
            )

    def _end(self, row: int, reason: StopReason) -> None:
        run = int(self._under_way[row])
        *known, norm = self._known.get(run, (None,))
        self.endings[run] = Ending(
            reason=reason,
            steps=self._step,
            losses=(known[0], known[1], known[2]) if known else None,
            gradient_norm=None if reason == "diverged" or norm != norm else norm,
        )
        if reason == "diverged":
            self._recording.leave_out(self._step, run)
            return
        for kept, tensor in zip(self.final.tensors, self._descent.variables.tensors, strict=True):
            kept[run] = tensor[row]

    def _keep(self, rows: Int64[Tensor, " kept"]) -> None:
        self._under_way = self._under_way[rows.cpu()]
        if len(rows) and self._limits is not None:
            self._descent.keep(rows)
            self._limits = self._limits[rows]


def shrinks(problem: Problem, variables: Variables) -> Bool[Tensor, " runs"]:
    """Whether each run is so near to zero that gradient flow can only bring it nearer.

    Along the flow d‖θ‖²/dt = −2⟨θ, ∇Loss⟩, and for the output Z, which is homogeneous of degree L + 1,

        ⟨θ, ∇Loss⟩ = Σ λ‖θ_l‖² + (L+1) ⟨Z, ∂fit/∂Z⟩ ≥ λ_min ‖θ‖² − (L+1) √(2/N) ‖Z‖,   ‖Z‖ ≤ (‖θ‖²/(L+1))^{(L+1)/2}:

    of the fit's gradient only the part −Y/N of norm 1/√N can pull Z outwards, or with cross-entropy
    (softmax − Y)/N, of norm √(2/N) at most. Where the right side is not negative it stays so for every smaller ‖θ‖.
    """
    order = problem.depth + 1
    squared = _norms(variables).square()
    outward: Tensor = order * (2 / problem.num_samples) ** 0.5 * (squared / order) ** (order / 2)
    return outward <= min(problem.feature_decay, *problem.weight_decays) * squared


def _norms(variables: Variables) -> Float64[Tensor, " runs"]:
    norms: Tensor = torch.stack([tensor.square().sum(dim=(1, 2)) for tensor in variables.tensors]).sum(dim=0).sqrt()
    return norms
