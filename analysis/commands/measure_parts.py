"""Pieces of a measurement that is spread over jobs: some parts of a feature set each."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from analysis.commands.base import Command, FeaturesOutline, Needs, Surroundings
from analysis.commands.measure_collapse import MeasureCollapse
from analysis.report import Report


class PartsCommand(Command):
    """Something to do with the parts `first_part` … `stop_part − 1` of what `of` measures."""

    internal: ClassVar[bool] = True

    of: MeasureCollapse
    first_part: int = Field(ge=0)
    stop_part: int = Field(ge=1)

    def needs(self, features: FeaturesOutline | None) -> Needs:
        """What the whole takes, for these parts."""
        return self.of.needs(features)


class AccumulateMoments(PartsCommand):
    """Accumulate the moments of some parts of a feature set."""

    kind: Literal["accumulate_moments"]

    def run(self, surroundings: Surroundings) -> Report:
        """Leaves moments files, one for each split."""
        from analysis.spread import accumulate_moments

        return accumulate_moments(self, surroundings)


class FindResiduals(PartsCommand):
    """Make the second pass over some parts of a feature set, against the class means of the whole."""

    kind: Literal["find_residuals"]
    parent: str = Field(description="the job that has kept the moments of the whole")

    def run(self, surroundings: Surroundings) -> Report:
        """Leaves a file of sums over the samples."""
        from analysis.spread import find_residuals

        return find_residuals(self, surroundings)
