"""The parameters that all DUFM kinds share, with their bounds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from analysis.commands.base import WHOLE, Number, WholeNumber
from analysis.dufm.problem import Activation, Loss, Problem

LARGEST_CLASSES, LARGEST_DEPTH, LARGEST_WIDTH, LARGEST_SAMPLES = 1000, 64, 4096, 10_000
LARGEST_MEMORY = 4 * 2**30
"""Bytes that the variables of a job and what is computed from them may take."""

Decay = Annotated[Number, Field(ge=0, le=1e3, allow_inf_nan=False)]
Width = Annotated[int, Field(ge=1, le=LARGEST_WIDTH), WHOLE]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1), WHOLE]
PerLayerDecay = Annotated[tuple[Decay, ...], Field(min_length=1, max_length=LARGEST_DEPTH)]
PerLayerWidth = Annotated[tuple[Width, ...], Field(min_length=1, max_length=LARGEST_DEPTH)]


class DufmParameters(BaseModel):
    """A deep unconstrained features model."""

    num_classes: WholeNumber = Field(default=10, ge=2, le=LARGEST_CLASSES, description="K")
    depth: WholeNumber = Field(default=4, ge=1, le=LARGEST_DEPTH, description="L, the number of weights")
    samples_per_class: WholeNumber = Field(default=1, ge=1, le=LARGEST_SAMPLES, description="n")
    weight_decay: Decay | PerLayerDecay = Field(default=0.004, description="λ_W: one for all weights, or λ_W1 … λ_WL")
    feature_decay: Decay = Field(default=0.004, description="λ_H1")

    @model_validator(mode="after")
    def _one_value_per_layer(self) -> DufmParameters:
        for name in ("weight_decay", "width"):
            values: Any = getattr(self, name, None)
            if isinstance(values, tuple) and len(values) != self.depth:
                raise ValueError(
                    f"{name} has {len(values)} values and depth is {self.depth}: give one number, or one for each of "
                    "the layers"
                )
        return self

    def problem(self, *, width: int | tuple[int, ...], loss: Loss = "mse", activation: Activation = "relu") -> Problem:
        """The model that these parameters describe."""
        decays = self.weight_decay if isinstance(self.weight_decay, tuple) else (self.weight_decay,) * self.depth
        return Problem(
            num_classes=self.num_classes,
            widths=width if isinstance(width, tuple) else (width,) * self.depth,
            weight_decays=decays,
            feature_decay=self.feature_decay,
            samples_per_class=self.samples_per_class,
            loss=loss,
            activation=activation,
        )


def memory_of(problem: Problem, *, runs: int, copies: int) -> int:
    """Bytes of a batch of runs: the layers' activations, and `copies` of the variables.

    copies: the variables themselves, their start, their end and their gradient; what an optimiser has besides.
    """
    weights = sum(rows * columns for rows, columns in problem.weight_shapes)
    variables = weights + problem.widths[0] * problem.num_samples
    activations = (sum(problem.widths) * 2 + problem.num_classes) * problem.num_samples
    # Activations on the way forward and back, and once more when losses are looked at; float64.
    return 8 * runs * (copies * variables + 3 * activations)


def work_of(problem: Problem) -> float:
    """Multiply-adds of one loss with its gradient, of one run: forward, and twice that back."""
    return 3.0 * problem.num_samples * sum(rows * columns for rows, columns in problem.weight_shapes)


def require_memory(problem: Problem, *, runs: int, copies: int) -> None:
    """Raise ValueError where a batch of runs would not fit into any worker."""
    needed = memory_of(problem, runs=runs, copies=copies)
    if needed > LARGEST_MEMORY:
        raise ValueError(
            f"this needs about {needed / 2**30:.1f} GiB of memory ({runs} runs of {problem.num_classes} classes × "
            f"{problem.samples_per_class} samples, widths up to {max(problem.widths)}), the limit is "
            f"{LARGEST_MEMORY / 2**30:.0f} GiB: take fewer runs, samples or neurons"
        )
