"""Figure 3, right: how often gradient descent ends in deep neural collapse, as a function of the width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome, Setting, Trained
from analysis.dufm.figures_of_paper.judging import SAME_LOSS, rises
from analysis.dufm.report import Statement, TrainingRun

PAPER: Final[dict[str, Any]] = {"num_classes": 10, "depth": 4, "learning_rate": 0.5, "optimizer": "gd"}
RUNS: Final = 5
WIDTHS: Final = (12, 16, 20, 25, 30, 40, 50, 64, 80, 100)
"""What the paper leaves unsaid, as are the next ones."""
OURS: Final[dict[str, Any]] = {
    "weight_decay": 0.004,
    "feature_decay": 0.004,
    "samples_per_class": 1,
    "init_scale": 1.4,
}
STEPS: Final = 60_000


def reproduce(experiment: Experiment) -> Outcome:
    """Train five runs at each width; two to three minutes, the widest the most of it."""
    settings = {**PAPER, **OURS, "runs": experiment.runs(RUNS), "steps": experiment.steps(STEPS)}
    work = sum(WIDTHS)
    trained = experiment.train_each(
        [Setting(f"width {width}", width / work, {**settings, "width": width}) for width in WIDTHS]
    )
    rows = [row(width, found) for width, found in zip(WIDTHS, trained, strict=True)]
    return Outcome(
        problem=trained[-1].problem,
        settings={
            **settings,
            "width": WIDTHS,
            "counted_as_dnc": "structure dnc, or rank K and the loss of DNC to 1e-3",
        },
        panels=(
            panels.curve(
                "dnc-share",
                "Share of the runs that end in deep neural collapse",
                [found for found in rows if found["dnc_share"] is not None],
                lines={},
                x="width",
                y="dnc_share",
                x_title="width of all layers",
                y_title="share of the runs",
                x_scale="log",
                y_scale="zero",
            ),
        ),
        statements=(statement(rows, settled=all(found.settled for found in trained)),),
        main=trained[-1],
    )


def row(width: int, trained: Trained) -> dict[str, Any]:
    """One point."""
    dnc = trained.training.references.dnc
    ended = [run for run in trained.training.runs if run.stop_reason != "diverged"]
    layer, classes = trained.problem.last_pre_activation, trained.problem.num_classes
    found = [run for run in ended if dnc is not None and ends_in_dnc(run, dnc=dnc, full=run.ranks[layer] == classes)]
    return {
        "width": width,
        "dnc_share": len(found) / len(ended) if ended else None,
        "runs": len(ended),
        "dnc_structures": sum(run.structure == "dnc" for run in ended),
        "least_loss": min(trained.losses, default=None),
        "dnc_loss": dnc,
    }


def ends_in_dnc(run: TrainingRun, *, dnc: float, full: bool) -> bool:
    """Whether a run is a DNC solution, or on its last steps to one: full rank, and its loss."""
    return run.structure == "dnc" or (full and run.loss is not None and abs(run.loss - dnc) <= SAME_LOSS * dnc)


def statement(rows: Sequence[dict[str, Any]], *, settled: bool) -> Statement:
    """Whether the share grows."""
    known = [found for found in rows if found["dnc_share"] is not None]
    return Statement(
        statement="The wider the layers, the likelier gradient descent ends in deep neural collapse",
        source="section 6; figure 3, right",
        agrees=rises([found["dnc_share"] for found in known], settled=settled),
        measured={f"share at width {found['width']}": found["dnc_share"] for found in known},
    )
