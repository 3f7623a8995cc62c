"""Figure 5: few classes. The loss split into fit and regularization; the class means of the last hidden layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome, Setting, Trained
from analysis.dufm.figures_of_paper.fig2_top import variability_vanishes
from analysis.dufm.report import Panel, Statement

PAPER: Final[dict[str, Any]] = {"depth": 4, "learning_rate": 0.5, "optimizer": "gd"}
CLASSES: Final = (3, 4, 5)
LAYERS: Final = (3, 4)
RUNS: Final = 5
OURS: Final[dict[str, Any]] = {
    "width": 30,
    "weight_decay": 0.004,
    "feature_decay": 0.004,
    "samples_per_class": 2,
    "init_scale": 1.4,
}
"""What the paper leaves unsaid."""
STEPS: Final = 100_000
BETTER: Final = 1e-4
"""Losses that are smaller by less, relative, are not said to be."""


def reproduce(experiment: Experiment) -> Outcome:
    """Train five runs for each number of classes; half a minute to one."""
    settings = {**PAPER, **OURS, "runs": experiment.runs(RUNS), "steps": experiment.steps(STEPS)}
    asked = [Setting(f"K = {classes}", 1 / len(CLASSES), {**settings, "num_classes": classes}) for classes in CLASSES]
    trained = dict(zip(CLASSES, experiment.train_each(asked), strict=True))
    main = trained[CLASSES[-1]]
    return Outcome(
        problem=main.problem,
        settings={**settings, "num_classes": CLASSES},
        panels=tuple(panel for found in trained.values() for panel in _panels(found)),
        statements=(
            *(variability_statement(found) for found in trained.values()),
            dnc_need_not_be_optimal(trained),
        ),
        main=main,
    )


def _panels(trained: Trained) -> list[Panel]:
    classes, training = trained.problem.num_classes, trained.training
    found = [
        panels.losses(f"k{classes}-loss", f"K = {classes}: loss", training, panels.reference_lines(training.references))
    ]
    if trained.solution is None:
        return found
    means = panels.means_of(trained.problem, trained.solution)
    for layer in LAYERS:
        matrix, name = means[f"H_{layer}"], f"k{classes}-m{layer}"
        found.append(panels.matrix(name, f"K = {classes}: M_{layer} of the best run", matrix, rows="neuron"))
        found.append(panels.gram(f"{name}-gram", f"K = {classes}: Gram matrix of M_{layer}", matrix))
    return found


def variability_statement(trained: Trained) -> Statement:
    """DNC1 for this number of classes."""
    told = variability_vanishes(trained)
    return told.model_copy(
        update={"statement": f"K = {trained.problem.num_classes}: {told.statement}", "source": "section 6; figure 5"}
    )


def dnc_need_not_be_optimal(trained: Mapping[int, Trained]) -> Statement:
    """Whether anything that is known lies below DNC; that nothing does is no proof that nothing is there."""
    measured: dict[str, float | None] = {}
    below = []
    for classes, found in trained.items():
        references = found.training.references
        measured[f"least loss, K = {classes}"] = min(found.losses, default=None)
        measured[f"DNC, K = {classes}"] = references.dnc
        measured[f"best known, K = {classes}"] = references.best_known
        known = [loss for loss in (*found.losses, references.best_known) if loss is not None]
        below.append(bool(known) and references.dnc is not None and min(known) < (1 - BETTER) * references.dnc)
    return Statement(
        statement="As soon as there are more than two layers and two classes, DNC need not be optimal: seen already at "
        f"K = {', '.join(map(str, trained))}, L = {PAPER['depth']}",
        source="abstract",
        agrees=True if any(below) else None,
        measured=measured,
    )
