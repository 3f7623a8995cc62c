"""Reproduce a figure of the paper."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analysis.commands.base import ChildrenFirst, Command, Number, Surroundings
from analysis.commands.dufm_parameters import Seed
from analysis.report import Report

Figure = Literal["fig2-top", "fig3-left", "fig3-middle", "fig3-right", "fig5", "fig6"]


class ReproduceFigure(Command):
    """Do an experiment of the paper again, draw its panels, and say which of its statements hold."""

    kind: Literal["reproduce_figure"]
    figure: Figure
    scale: Number = Field(
        default=1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="share of the paper's runs and steps, at least 1 run and 200 steps of each setting; 1 takes up "
        "to a few minutes on two cores",
    )
    seed: Seed = Field(default=0, description="of the first run; the others follow")

    def run(self, surroundings: Surroundings) -> Report | ChildrenFirst:
        """Train, compare, judge; several trainings are jobs of their own."""
        from analysis.dufm.reproduce import reproduce

        return reproduce(self, surroundings)
