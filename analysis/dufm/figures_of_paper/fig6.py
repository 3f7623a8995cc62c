"""Figure 6: a deeper model with more classes, and what its class means look like."""

from __future__ import annotations

from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome, Trained
from analysis.dufm.figures_of_paper.fig2_top import (
    descent_below_dnc,
    low_rank_before_the_last_activation,
    srg_below_dnc,
)
from analysis.dufm.report import Panel

PAPER: Final[dict[str, Any]] = {"num_classes": 15, "depth": 7, "learning_rate": 0.5, "optimizer": "gd"}
RUNS: Final = 5
OURS: Final[dict[str, Any]] = {
    "width": 30,
    "weight_decay": 0.004,
    "feature_decay": 0.004,
    "samples_per_class": 1,
    "init_scale": 1.4,
}
"""What the paper leaves unsaid."""
STEPS: Final = 150_000
SPECTRA: Final = ("H_2", "H_6", "relu(H_6)", "H_7", "relu(H_7)")
"""The paper's, and the last hidden layer's."""


def reproduce(experiment: Experiment) -> Outcome:
    """Train five runs; half a minute."""
    settings = {**PAPER, **OURS, "runs": experiment.runs(RUNS), "steps": experiment.steps(STEPS)}
    trained = experiment.train("training", share=1.0, **settings)
    return Outcome(
        problem=trained.problem,
        settings=settings,
        panels=tuple(_panels(trained)),
        statements=(
            srg_below_dnc(trained),
            descent_below_dnc(trained),
            low_rank_before_the_last_activation(trained),
        ),
        main=trained,
    )


def _panels(trained: Trained) -> list[Panel]:
    training = trained.training
    found = [panels.losses("loss", "Loss over training", training, panels.reference_lines(training.references))]
    if trained.solution is None:
        return found
    means = panels.means_of(trained.problem, trained.solution)
    spectra = {layer: means[layer].svd().S.tolist() for layer in SPECTRA}
    return [
        *found,
        panels.singular_values("singular-values", "Singular values of the best run's class means", spectra),
        panels.matrix("m2", "M_2 of the best run", means["H_2"], rows="neuron"),
        panels.matrix("m6", "M_6 of the best run", means["H_6"], rows="neuron"),
        panels.gram("m6-gram", "Gram matrix of M_6", means["H_6"]),
    ]
