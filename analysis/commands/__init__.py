"""The kinds of jobs: validated parameters, frozen, and `run`, which imports the mathematics when it is called.

A new kind is one module here and its name in `AnyCommand`.
"""

from typing import Annotated, get_args

from pydantic import Field

from analysis.commands.base import ChildJob, Command, Features, Surroundings
from analysis.commands.find_dufm_optimum import FindDufmOptimum
from analysis.commands.measure_collapse import MeasureCollapse
from analysis.commands.reproduce_figure import ReproduceFigure
from analysis.commands.sweep_dufm import SweepDufm
from analysis.commands.train_dufm import TrainDufm

AnyCommand = Annotated[
    MeasureCollapse | TrainDufm | FindDufmOptimum | SweepDufm | ReproduceFigure, Field(discriminator="kind")
]
"""Every kind."""

KINDS: dict[str, type[Command]] = {
    get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(get_args(AnyCommand)[0])
}
"""The class of each kind, by name."""

__all__ = [
    "KINDS",
    "AnyCommand",
    "ChildJob",
    "Command",
    "Features",
    "FindDufmOptimum",
    "MeasureCollapse",
    "ReproduceFigure",
    "Surroundings",
    "SweepDufm",
    "TrainDufm",
]
