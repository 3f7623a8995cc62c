"""Reproduce a figure of the paper: from a command to a report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from analysis.commands.base import ChildrenFirst
from analysis.dufm.figures_of_paper import FIGURES, Experiment
from analysis.dufm.figures_of_paper.experiment import KEPT, ChildrenNeeded
from analysis.dufm.layers import dufm_report
from analysis.dufm.report import Reproduction
from analysis.report import Report

if TYPE_CHECKING:
    from analysis.commands import Surroundings
    from analysis.commands.reproduce_figure import ReproduceFigure


def reproduce(command: ReproduceFigure, surroundings: Surroundings) -> Report | ChildrenFirst:
    """Do the experiment of one figure, shortened by `scale`; the layers are those of its main training's best run.

    Lets through what `surroundings.progress` raises.
    """
    started = time.perf_counter()
    try:
        outcome = FIGURES[command.figure](Experiment(command, surroundings))
    except ChildrenNeeded as needed:
        return ChildrenFirst(needed.commands)
    main = outcome.main
    artifacts = [name for name in KEPT if main is not None and name in main.artifacts]
    for name in artifacts:
        assert main is not None, "it has these artifacts"
        surroundings.keep_artifact(name, main.artifacts[name])
    return dufm_report(
        command,
        surroundings,
        outcome.problem,
        main.solution if main is not None else None,
        seed=command.seed,
        started=started,
        warnings=main.warnings if main is not None else (),
        artifacts=artifacts,
        training=main.training if main is not None else None,
        reproduction=Reproduction(
            figure=command.figure,
            scale=command.scale,
            settings=dict(outcome.settings),
            panels=outcome.panels,
            statements=outcome.statements,
        ),
    )
