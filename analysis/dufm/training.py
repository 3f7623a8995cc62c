"""Train a deep unconstrained features model: from a command to a report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import torch

from analysis.dufm.advice import advise
from analysis.dufm.artifacts import SOLUTION, SOLUTIONS, TRAJECTORY, all_to_safetensors, to_safetensors
from analysis.dufm.descent import Descent
from analysis.dufm.ensemble import Ending, Ensemble
from analysis.dufm.initial import initial_variables
from analysis.dufm.layers import dufm_report
from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.recording import VARIABILITY, Recording
from analysis.dufm.references import references
from analysis.dufm.report import Training, TrainingRun
from analysis.dufm.structure import classify, ranks
from analysis.report import Report, Warning

if TYPE_CHECKING:
    from analysis.commands import Surroundings, TrainDufm

LARGEST_SOLUTIONS: Final = 64 * 2**20
"""Bytes up to which the variables of all runs are kept."""


def train(command: TrainDufm, surroundings: Surroundings) -> Report:
    """Train all seeds side by side, in float64, and measure the best run.

    Lets through what `surroundings.progress` raises.
    """
    started = time.perf_counter()
    problem, seeds = command.model, range(command.seed, command.seed + command.runs)
    initial = initial_variables(problem, seeds, scale=command.init_scale)
    recording = Recording(problem, seeds=seeds, steps=command.steps, interval=command.recording_interval)
    ensemble = Ensemble(
        problem,
        Descent(
            problem,
            initial.to(surroundings.device),
            optimizer=command.optimizer,
            learning_rate=command.learning_rate,
        ),
        recording,
        gradient_norm=command.stop_when.gradient_norm if command.stop_when else None,
    )
    ensemble.train(
        command.steps, lambda step: surroundings.progress(phase="training", current=step, total=command.steps)
    )
    trained = time.perf_counter()
    runs = _runs(command, surroundings, ensemble)
    best = _best(runs)
    training = Training(
        runs=runs,
        best_run=best,
        trajectory=recording.trajectory(),
        references=references(problem),
        advice=advise(command, runs, initial, [recording.losses_of(run) for run in range(len(runs))]),
    )
    return dufm_report(
        command,
        surroundings,
        problem,
        None if best is None else ensemble.final.run(best),
        seed=command.seed,
        started=started,
        timings={"training_seconds": trained - started},
        warnings=_warnings(command, recording, best),
        artifacts=_keep_artifacts(surroundings, problem, ensemble.final, training, recording),
        training=training,
    )


def _runs(command: TrainDufm, surroundings: Surroundings, ensemble: Ensemble) -> tuple[TrainingRun, ...]:
    reports = []
    for index in range(command.runs):
        surroundings.progress(phase="classifying", current=index, total=command.runs)
        ending = ensemble.endings[index]
        found = None if ending.reason == "diverged" else ensemble.final.run(index)
        reports.append(_run(ensemble.problem, command.seed + index, ending, found))
    return tuple(reports)


def _run(problem: Problem, seed: int, ending: Ending, found: Variables | None) -> TrainingRun:
    loss, fit, regularization = ending.losses or (None, None, None)
    return TrainingRun(
        seed=seed,
        loss=loss,
        fit=fit,
        regularization=regularization,
        ranks=dict(ranks(problem, found)) if found else dict.fromkeys(problem.layers),
        structure=classify(problem, found) if found else None,
        stop_reason=ending.reason,
        steps=ending.steps,
        gradient_norm=ending.gradient_norm,
    )


def _best(runs: Sequence[TrainingRun]) -> int | None:
    """The run of the least loss, the first of equal ones; None if all diverged."""
    losses = {
        index: run.loss for index, run in enumerate(runs) if run.stop_reason != "diverged" and run.loss is not None
    }
    return min(losses, key=lambda index: losses[index], default=None)


def _warnings(command: TrainDufm, recording: Recording, best: int | None) -> tuple[Warning, ...]:
    warnings = []
    if best is None:
        warnings.append(
            Warning(
                code="all_runs_diverged",
                detail="no run has a solution, so there are no layers to report: see training.advice",
            )
        )
    if command.samples_per_class == 1:
        warnings.append(
            Warning(
                code="single_sample_class",
                metrics=(VARIABILITY,),
                detail="with one sample per class there is no variability within the classes, and the trajectory has "
                "none: take samples_per_class of 2 or more to see it vanish",
            )
        )
    if recording.interval > command.recording_interval:
        warnings.append(
            Warning(
                code="recorded_less_often",
                detail=f"recorded every {recording.interval} steps, not every {command.recording_interval}: so many "
                "runs, layers and singular values would be too much to keep",
            )
        )
    return tuple(warnings)


def _keep_artifacts(
    surroundings: Surroundings, problem: Problem, final: Variables, training: Training, recording: Recording
) -> tuple[str, ...]:
    """Keep the best solution, those of all runs that did not diverge where they are small, and the trajectory."""
    kept = {TRAJECTORY: recording.parquet()}
    model = json.dumps(asdict(problem))
    if training.best_run is not None:
        best = training.runs[training.best_run]
        metadata = {"problem": model, "loss": repr(best.loss), "seed": str(best.seed)}
        kept[SOLUTION] = to_safetensors(final.run(training.best_run), metadata)
        there = [index for index, run in enumerate(training.runs) if run.stop_reason != "diverged"]
        if sum(8 * tensor[there].numel() for tensor in final.tensors) <= LARGEST_SOLUTIONS:
            seeds = json.dumps([training.runs[index].seed for index in there])
            kept[SOLUTIONS] = all_to_safetensors(final.select(torch.tensor(there)), {"problem": model, "seeds": seeds})
    for name, content in sorted(kept.items()):
        surroundings.keep_artifact(name, content)
    return tuple(sorted(kept))
