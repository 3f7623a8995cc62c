"""Train deep unconstrained features models by gradient descent, several seeds side by side."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analysis.commands.base import WHOLE, Command, FeaturesOutline, Needs, Number, Surroundings, WholeNumber
from analysis.commands.dufm_parameters import (
    DufmParameters,
    PerLayerWidth,
    Seed,
    Width,
    memory_of,
    require_memory,
    work_of,
)
from analysis.dufm.problem import Activation, Loss, Problem
from analysis.report import Report

MOST_RUNS, MOST_STEPS, MOST_RECORDS = 1024, 10_000_000, 2_000
COPIES = {"gd": 6, "adam": 11}
"""Of the variables, in memory, as measured: Adam has two moments, a gradient, and two that its step is made of."""


class StopWhen(BaseModel):
    """When a run has converged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gradient_norm: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=1e-7,
        description="a run has converged once ‖∇Loss‖ is at most this share of the norm of all variables, or once it "
        "is so near to zero that it can only go on towards it. At solutions on the kinks of the ReLU, as those of low "
        "rank are, steps of one length keep crossing the kinks and the share stays near 1e-3: such runs take all steps",
    )


class TrainDufm(Command, DufmParameters):
    """Train a deep unconstrained features model by full-batch gradient descent, several seeds side by side."""

    kind: Literal["train_dufm"]
    width: Width | PerLayerWidth = Field(default=30, description="d: one for all layers, or d_1 … d_L")
    learning_rate: Number = Field(default=0.5, gt=0, le=1e4, allow_inf_nan=False)
    steps: WholeNumber = Field(default=100_000, ge=1, le=MOST_STEPS)
    optimizer: Literal["gd", "adam"] = Field(default="gd", description="gd: plain gradient descent, as in the paper")
    loss: Loss = Field(default="mse", description="mse: 1/(2N) ‖output − Y‖²; cross_entropy: its mean over samples")
    activation: Activation = Field(default="relu")
    init_scale: Number = Field(
        default=1.4,
        gt=0,
        le=1e3,
        allow_inf_nan=False,
        description="entries of W_l and H_1 are drawn normal, of standard deviation init_scale / √(columns of W_l), "
        "of H_1: init_scale / √d_1. The default is about √2, with which a ReLU keeps the size of what it gets (He et "
        "al. 2015). At K = 10, L = 4, all decays 0.004, width 30, learning rate 0.5 it brings 10 of 10 runs below deep "
        "neural collapse at n = 1 and at n = 2, at n = 1 one of them to the SRG solution; 1.0 brings 8 and 9 of 10; "
        "with 0.5 some classes are lost at n = 1 and n = 2, and all at n = 5; 2.0 diverges",
    )
    runs: WholeNumber = Field(
        default=1, ge=1, le=MOST_RUNS, description="seeds trained side by side: seed, seed + 1, …"
    )
    seed: Seed = 0
    record_every: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None, description="steps; left out: about 200 records over all steps"
    )
    stop_when: StopWhen | None = Field(default_factory=StopWhen, description="null: every run takes all steps")

    @model_validator(mode="after")
    def _fits(self) -> TrainDufm:
        if self.record_every is not None and self.steps / self.record_every > MOST_RECORDS:
            raise ValueError(
                f"record_every={self.record_every} would record {self.steps // self.record_every} times, the limit is "
                f"{MOST_RECORDS}: take at least {-(-self.steps // MOST_RECORDS)}"
            )
        require_memory(self.model, runs=self.runs, copies=COPIES[self.optimizer])
        return self

    @property
    def model(self) -> Problem:
        """The model to train."""
        return self.problem(width=self.width, loss=self.loss, activation=self.activation)

    @property
    def recording_interval(self) -> int:
        """Steps between two records."""
        return self.record_every or max(1, self.steps // 200)

    def needs(self, features: FeaturesOutline | None) -> Needs:
        """All runs side by side."""
        return Needs(
            memory_bytes=memory_of(self.model, runs=self.runs, copies=COPIES[self.optimizer]),
            multiply_adds=work_of(self.model) * self.runs * self.steps,
        )

    def run(self, surroundings: Surroundings) -> Report:
        """Train."""
        from analysis.dufm.training import train

        return train(self, surroundings)
