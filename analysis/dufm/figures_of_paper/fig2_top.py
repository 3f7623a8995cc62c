"""Figure 2, top: gradient descent against DNC and SRG, collapse within classes, singular values at convergence."""

from __future__ import annotations

from statistics import fmean
from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome, Trained
from analysis.dufm.figures_of_paper.judging import VANISHED, is_less
from analysis.dufm.report import Panel, Statement

PAPER: Final[dict[str, Any]] = {
    "num_classes": 10,
    "depth": 4,
    "width": 30,
    "weight_decay": 0.004,
    "feature_decay": 0.004,
    "learning_rate": 0.5,
    "optimizer": "gd",
}
RUNS: Final = 10
OURS: Final[dict[str, Any]] = {"samples_per_class": 2, "init_scale": 1.4}
"""What the paper leaves unsaid: two samples a class are the fewest that have a variability."""
STEPS: Final = 100_000


def reproduce(experiment: Experiment) -> Outcome:
    """Train ten runs; a quarter of a minute."""
    settings = {**PAPER, **OURS, "runs": experiment.runs(RUNS), "steps": experiment.steps(STEPS)}
    trained = experiment.train("training", share=1.0, **settings)
    return Outcome(
        problem=trained.problem,
        settings=settings,
        panels=_panels(trained),
        statements=statements(trained),
        main=trained,
    )


def _panels(trained: Trained) -> tuple[Panel, ...]:
    training = trained.training
    return (
        panels.losses("loss", "Loss over training", training, panels.reference_lines(training.references)),
        panels.variability("variability", "Variability within the classes (DNC1)", training),
        panels.singular_values(
            "singular-values", "Singular values of the class means at the end", panels.at_the_end(training)
        ),
    )


def statements(trained: Trained) -> tuple[Statement, ...]:
    """What the paper says of this experiment."""
    return (
        srg_below_dnc(trained),
        descent_below_dnc(trained),
        variability_vanishes(trained),
        low_rank_before_the_last_activation(trained),
    )


def srg_below_dnc(trained: Trained) -> Statement:
    """A matter of two numbers."""
    references = trained.training.references
    srg = references.srg.loss if references.srg else None
    return Statement(
        statement=f"The SRG solution has a smaller loss than DNC at {_model(trained)}",
        source="section 4; figure 2, the two lines",
        agrees=None if srg is None or references.dnc is None else srg < references.dnc,
        measured={"srg_loss": srg, "dnc_loss": references.dnc},
    )


def descent_below_dnc(trained: Trained) -> Statement:
    """Whether the runs' mean ends below DNC."""
    dnc, losses = trained.training.references.dnc, trained.losses
    mean = fmean(losses) if losses else None
    return Statement(
        statement=f"Gradient descent from random starts ends below the loss of DNC at {_model(trained)}",
        source="section 6; figure 2, left",
        agrees=None if dnc is None or mean is None else is_less(mean, dnc, settled=trained.settled),
        measured={
            "runs": len(trained.training.runs),
            "runs_below_dnc": None if dnc is None else sum(loss < dnc for loss in losses),
            "mean_loss": mean,
            "least_loss": min(losses, default=None),
            "dnc_loss": dnc,
        },
    )


def variability_vanishes(trained: Trained) -> Statement:
    """Whether DNC1 holds in all layers at the end."""
    bands = trained.training.trajectory.metrics["variability_trace_ratio"]
    ends = {layer: band.mean[-1] for layer, band in bands.items()}
    known = [value for value in ends.values() if value is not None]
    vanished = bool(known) and max(known) <= VANISHED
    told = len(known) == len(ends) and (vanished or trained.settled)
    return Statement(
        statement="The variability within the classes goes to zero in all layers (DNC1)",
        source="section 6; figure 2, middle",
        agrees=vanished if told else None,
        measured={f"ratio in {layer}": value for layer, value in ends.items()},
    )


def low_rank_before_the_last_activation(trained: Trained) -> Statement:
    """Whether M_L has low rank, and σ(M_L) full rank."""
    classes, layer = trained.problem.num_classes, trained.problem.last_pre_activation
    before, after = trained.ranks(layer), trained.ranks(f"relu({layer})")
    mean_before, mean_after = (fmean(ranks) if ranks else None for ranks in (before, after))
    agrees = all(rank < classes for rank in before) and all(rank == classes for rank in after)
    return Statement(
        statement="The class means of the last hidden layer have low rank before the ReLU and full rank after it",
        source="section 4; figure 2, right",
        agrees=agrees if trained.settled and before else None,
        measured={
            "classes": classes,
            "mean_rank_before": mean_before,
            "mean_rank_after": mean_after,
            "runs_of_low_rank": sum(rank < classes for rank in before),
            "runs": len(before),
        },
    )


def _model(trained: Trained) -> str:
    return f"K = {trained.problem.num_classes}, L = {trained.problem.depth}"
