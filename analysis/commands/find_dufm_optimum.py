"""Find the best solution of a deep unconstrained features model that can be found in the time given."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from analysis.commands.base import Command, FeaturesOutline, Needs, Number, Surroundings, WholeNumber
from analysis.commands.dufm_parameters import (
    LARGEST_WIDTH,
    DufmParameters,
    PerLayerWidth,
    Seed,
    Width,
    memory_of,
    require_memory,
    work_of,
)
from analysis.dufm.problem import Problem
from analysis.report import Report

MOST_RESTARTS, LONGEST_BUDGET_SECONDS = 4096, 3600
COPIES = 4
"""Of the variables, of one start."""
STEPS = 500
"""Of one start, about."""


class FindDufmOptimum(Command, DufmParameters):
    """Search the best solution of a deep unconstrained features model: by restarts, families and the catalogue."""

    kind: Literal["find_dufm_optimum"]
    width: Width | PerLayerWidth | None = Field(
        default=None, description="d: one for all layers, or d_1 … d_L; left out: as many neurons as are of use"
    )
    restarts: WholeNumber = Field(
        default=64, ge=0, le=MOST_RESTARTS, description="random starts, besides those from families"
    )
    budget_seconds: Number | None = Field(
        default=60, gt=0, le=LONGEST_BUDGET_SECONDS, description="null: until all restarts have ended"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_a_minimum(self) -> FindDufmOptimum:
        if self.model.effective_decay == 0:
            raise ValueError("with a decay of 0 the infimum of the loss is 0 and no solution attains it: give all > 0")
        require_memory(self.model, runs=1, copies=COPIES)
        return self

    @property
    def model(self) -> Problem:
        """The model whose optimum is sought."""
        return self.problem(width=self.width or min(LARGEST_WIDTH, max(30, 4 * self.num_classes)))

    def needs(self, features: FeaturesOutline | None) -> Needs:
        """Several starts side by side; how many steps they take is not known, some hundreds."""
        return Needs(
            memory_bytes=memory_of(self.model, runs=1, copies=COPIES),
            multiply_adds=work_of(self.model) * max(1, self.restarts) * STEPS,
        )

    def run(self, surroundings: Surroundings) -> Report:
        """Search."""
        from analysis.dufm.optimum import find_optimum

        return find_optimum(self, surroundings)
