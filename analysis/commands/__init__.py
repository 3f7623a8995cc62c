"""The kinds of jobs: validated parameters, frozen, and `run`, which imports the mathematics when it is called.

A new kind is one module here and its name in `AnyCommand`.
"""

from typing import Annotated, get_args

from pydantic import Field

from analysis.commands.base import (
    WHOLE,
    ChildJob,
    ChildrenFirst,
    Command,
    Features,
    FeaturesOutline,
    Needs,
    Surroundings,
)
from analysis.commands.find_dufm_optimum import FindDufmOptimum
from analysis.commands.measure_collapse import MeasureCollapse
from analysis.commands.measure_parts import AccumulateMoments, FindResiduals
from analysis.commands.reproduce_figure import ReproduceFigure
from analysis.commands.sweep_dufm import SweepDufm
from analysis.commands.train_dufm import TrainDufm

AnyCommand = Annotated[
    MeasureCollapse | AccumulateMoments | FindResiduals | TrainDufm | FindDufmOptimum | SweepDufm | ReproduceFigure,
    Field(discriminator="kind"),
]
"""Every kind."""

KINDS: dict[str, type[Command]] = {
    get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(get_args(AnyCommand)[0])
}
"""The class of each kind, by name."""

PUBLIC_KINDS = {name: kind for name, kind in KINDS.items() if not kind.internal}
"""Those that users submit; jobs of the others are children of theirs."""

__all__ = [
    "KINDS",
    "PUBLIC_KINDS",
    "WHOLE",
    "AccumulateMoments",
    "AnyCommand",
    "ChildJob",
    "ChildrenFirst",
    "Command",
    "Features",
    "FeaturesOutline",
    "FindDufmOptimum",
    "FindResiduals",
    "MeasureCollapse",
    "Needs",
    "ReproduceFigure",
    "Surroundings",
    "SweepDufm",
    "TrainDufm",
]
