"""Figure 3, middle: the rank at convergence as a function of the weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome, Setting, Trained, last_fall
from analysis.dufm.figures_of_paper.judging import falls
from analysis.dufm.report import Statement

PAPER: Final[dict[str, Any]] = {"num_classes": 10, "depth": 4, "learning_rate": 0.5, "optimizer": "gd"}
RUNS: Final = 5
DECAYS: Final = tuple(2.0**power for power in (-10, -9.5, -9, -8.5, -8, -7.5, -7, -6.5, -6))
"""Of all weights and of the features; what the paper leaves unsaid, as are the next ones."""
OURS: Final[dict[str, Any]] = {"width": 30, "samples_per_class": 1, "init_scale": 1.4}
STEPS_TIMES_DECAY: Final = 400
"""What a weak decay does takes as many more steps: 410 000 at the weakest."""
LEAST_STEPS: Final = 40_000
"""At the strongest decay a run leaves one solution for a better one at about 24 000 steps."""


def reproduce(experiment: Experiment) -> Outcome:
    """Train five runs at each decay; two to three minutes, the weakest decays the most of it."""
    settings = {**PAPER, **OURS, "runs": experiment.runs(RUNS)}
    steps = {decay: experiment.steps(max(LEAST_STEPS, round(STEPS_TIMES_DECAY / decay))) for decay in DECAYS}
    trained = experiment.train_each(
        [
            Setting(
                f"decay {decay:.3g}",
                steps[decay] / sum(steps.values()),
                {**settings, "weight_decay": decay, "feature_decay": decay, "steps": steps[decay]},
            )
            for decay in DECAYS
        ]
    )
    rows = [row(decay, found) for decay, found in zip(DECAYS, trained, strict=True)]
    classes = settings["num_classes"]
    return Outcome(
        problem=trained[-1].problem,
        settings={
            **settings,
            "weight_decay": DECAYS,
            "feature_decay": "as weight_decay",
            "steps": tuple(steps.values()),
        },
        panels=(
            panels.curve(
                "rank",
                "Rank of the last hidden layer's class means before the ReLU, at the end",
                [found for found in rows if found["mean_rank"] is not None],
                lines={"DNC: K": float(classes)},
                x="decay",
                y="mean_rank",
                low="low",
                high="high",
                x_title="weight decay",
                y_title="rank, mean ± 1 standard deviation of the runs",
                x_scale="log2",
                y_scale="zero",
            ),
        ),
        statements=(statement(rows, settled=all(found.settled for found in trained)),),
        main=trained[-1],
    )


def row(decay: float, trained: Trained) -> dict[str, Any]:
    """One point: mean and standard deviation over the runs."""
    ranks = trained.ranks(trained.problem.last_pre_activation)
    mean, deviation = (fmean(ranks), pstdev(ranks)) if ranks else (None, None)
    return {
        "decay": decay,
        "mean_rank": mean,
        "std_rank": deviation,
        "low": None if mean is None or deviation is None else mean - deviation,
        "high": None if mean is None or deviation is None else mean + deviation,
        "runs": len(ranks),
        "last_fall": last_fall(trained.training),
        "mean_loss": fmean(trained.losses) if trained.losses else None,
        "dnc_loss": trained.training.references.dnc,
    }


def statement(rows: Sequence[dict[str, Any]], *, settled: bool) -> Statement:
    """Whether the rank falls."""
    known = [found for found in rows if found["mean_rank"] is not None]
    return Statement(
        statement="The stronger the weight decay, the lower the rank of the solution that gradient descent finds",
        source="section 6; figure 3, middle",
        agrees=falls([found["mean_rank"] for found in known], settled=settled),
        measured={f"mean rank at decay {found['decay']:.3g}": found["mean_rank"] for found in known},
    )
