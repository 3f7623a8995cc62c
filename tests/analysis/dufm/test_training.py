"""From a command to a report."""

import io
import json

import pyarrow.parquet as pq
import pytest
from dufm_models import Here, Stop, dnc_loss, model
from pydantic import TypeAdapter

from analysis.commands import AnyCommand, TrainDufm
from analysis.dufm.artifacts import from_safetensors, read_metadata
from analysis.dufm.model import losses
from analysis.report import Report

SMALL = {"kind": "train_dufm", "num_classes": 3, "depth": 3, "width": 6, "weight_decay": 0.01, "feature_decay": 0.01}


def train(here=None, **parameters):
    command = TypeAdapter(AnyCommand).validate_python(SMALL | parameters)
    return command.run(here or Here())


def rows(content):
    return pq.read_table(io.BytesIO(content)).to_pylist()


def test_report_is_complete_and_survives_json():
    here = Here()
    report = train(here, steps=2_000, runs=3, seed=4, samples_per_class=2)
    assert Report.model_validate_json(report.model_dump_json()) == report
    training = report.training
    assert [run.seed for run in training.runs] == [4, 5, 6]
    assert [layer.name for layer in report.layers] == list(training.runs[0].ranks) == list(model(depth=3).layers)
    assert training.best_run == min(range(3), key=lambda run: training.runs[run].loss)
    best = training.runs[training.best_run]
    assert {layer.name: layer.metrics["class_mean_rank"] for layer in report.layers} == best.ranks
    assert best.loss == pytest.approx(best.fit + best.regularization, rel=1e-12)
    assert report.environment.seed == 4
    assert report.environment.dtype == "float64"
    assert (report.num_samples, report.num_classes, report.class_counts) == (6, 3, {"0": 2, "1": 2, "2": 2})
    assert training.references.dnc == pytest.approx(dnc_loss(model(decay=0.01, samples_per_class=2)), rel=1e-6)
    assert training.trajectory.step == tuple(range(0, 2_001, 10))
    assert training.trajectory.loss.min[-1] == pytest.approx(best.loss, rel=1e-12)
    assert (
        report.artifacts
        == tuple(sorted(here.artifacts))
        == (
            "solution.safetensors",
            "solutions.safetensors",
            "trajectory.parquet",
        )
    )


def test_artifacts_hold_what_the_report_tells():
    here = Here()
    report = train(here, steps=1_000, runs=3)
    command = TypeAdapter(AnyCommand).validate_python(SMALL)
    best = report.training.runs[report.training.best_run]
    content = here.artifacts["solution.safetensors"]
    assert float(losses(command.model, from_safetensors(content)).loss) == pytest.approx(best.loss, rel=1e-12)
    metadata = read_metadata(content)
    assert (float(metadata["loss"]), int(metadata["seed"])) == (best.loss, best.seed)
    assert json.loads(metadata["problem"])["num_classes"] == 3
    of_all = losses(command.model, from_safetensors(here.artifacts["solutions.safetensors"])).loss.tolist()
    assert of_all == pytest.approx([run.loss for run in report.training.runs], rel=1e-12)
    last = {row["run"]: row["value"] for row in rows(here.artifacts["trajectory.parquet"]) if row["metric"] == "loss"}
    assert [last[run] for run in range(3)] == pytest.approx(of_all, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_the_same_command_gives_the_same_report(optimizer):
    parameters = {"steps": 600, "runs": 2, "optimizer": optimizer, "learning_rate": 0.01}
    first, second = Here(), Here()
    different = {"created_at", "timings"}
    reports = [train(here, **parameters).model_dump(exclude=different) for here in (first, second)]
    assert reports[0] == reports[1]
    assert first.artifacts == second.artifacts


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_a_seed_gives_the_same_run_alone_and_among_others(optimizer):
    among, alone = Here(), Here()
    parameters = {"steps": 1_001, "optimizer": optimizer, "learning_rate": 0.02, "samples_per_class": 2}
    three = train(among, runs=3, seed=5, **parameters)
    one = train(alone, runs=1, seed=6, **parameters)
    assert three.training.runs[1] == one.training.runs[0]
    second = [row | {"run": 0} for row in rows(among.artifacts["trajectory.parquet"]) if row["seed"] == 6]
    assert second == rows(alone.artifacts["trajectory.parquet"])


def test_runs_that_diverge_say_so_and_what_to_do():
    here = Here()
    report = train(here, steps=500, runs=3, learning_rate=40.0)
    training = report.training
    assert {run.stop_reason for run in training.runs} == {"diverged"}
    assert training.best_run is None
    assert report.layers == ()
    assert "all_runs_diverged" in {warning.code for warning in report.warnings}
    for run in training.runs:
        assert (run.structure, run.gradient_norm, set(run.ranks.values())) == (None, None, {None})
        assert run.loss == pytest.approx(run.fit + run.regularization)
    assert set(here.artifacts) == {"trajectory.parquet"}
    [advice] = training.advice
    assert advice.startswith("3 of 3 runs diverged: learning_rate=40 is too large")
    suggested = float(advice.partition("try ")[2].partition(",")[0])
    calmer = train(steps=500, runs=3, learning_rate=suggested)
    assert "diverged" not in {run.stop_reason for run in calmer.training.runs}
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_what_is_known_of_a_diverged_run_was_finite():
    report = train(steps=400, init_scale=100.0, learning_rate=10.0)
    [run] = report.training.runs
    assert run.stop_reason == "diverged"
    assert run.steps <= 200
    assert run.loss is not None
    assert "the run diverged" in report.training.advice[0]


def test_runs_that_still_fall_are_told_to_go_on():
    [advice] = train(steps=40, record_every=1).training.advice
    assert "the run reached the step limit with a loss that still falls: take more steps than 40" in advice


@pytest.mark.parametrize(("activation", "reason"), [("relu", "kinks of the ReLU"), ("linear", "slowly")])
def test_runs_that_no_longer_fall_are_told_why_they_have_not_converged(activation, reason):
    parameters = {"num_classes": 2, "depth": 2, "learning_rate": 0.2, "activation": activation}
    [advice] = train(steps=20_000, stop_when={"gradient_norm": 1e-30}, **parameters).training.advice
    assert "the run reached the step limit with a loss that no longer falls" in advice
    assert reason in advice


def test_without_a_condition_there_is_no_advice():
    report = train(steps=40, stop_when=None)
    assert report.training.advice == ()
    assert report.training.runs[0].stop_reason == "step_limit"


def test_two_classes_end_in_deep_neural_collapse():
    report = train(num_classes=2, depth=2, steps=60_000, runs=4, samples_per_class=3)
    training = report.training
    best = training.runs[training.best_run]
    assert (best.structure, best.stop_reason) == ("dnc", "converged")
    assert best.loss == pytest.approx(training.references.dnc, rel=1e-6)
    assert training.trajectory.metrics["variability_trace_ratio"]["H_1"].mean[0] > 0.1
    assert report.layers[0].metrics["variability_trace_ratio"] < 1e-6
    assert report.layers[2].structure.kind in ("orthogonal_frame", "simplex_etf")
    assert training.advice == ()


@pytest.mark.parametrize(
    "parameters",
    [
        {"depth": 1, "width": 4},
        {"width": [5, 3, 7], "weight_decay": [0.1, 0.0, 0.02]},
        {"loss": "cross_entropy", "samples_per_class": 2},
        {"activation": "linear", "learning_rate": 0.1},
        {"num_classes": 2, "width": 1},
        {"weight_decay": 0.0, "feature_decay": 0.0, "steps": 50},
    ],
)
def test_every_model_has_a_report(parameters):
    report = train(**{"steps": 300, "runs": 2} | parameters)
    assert "diverged" not in {run.stop_reason for run in report.training.runs}
    assert [layer.name for layer in report.layers] == list(report.training.runs[0].ranks)
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_single_samples_have_no_variability_and_a_warning_says_why():
    report = train(steps=100)
    assert [warning.code for warning in report.warnings] == ["single_sample_class"]
    assert set(report.training.trajectory.metrics["variability_trace_ratio"]["H_1"].mean) == {None}
    assert train(steps=100, samples_per_class=2).warnings == ()


def test_records_too_many_to_keep_are_thinned_and_a_warning_says_so(monkeypatch):
    monkeypatch.setattr("analysis.dufm.recording.MOST_NUMBERS", 500)
    report = train(steps=1_000, record_every=10, samples_per_class=2)
    [warning] = report.warnings
    assert warning.code == "recorded_less_often"
    assert len(report.training.trajectory.step) < 20


def test_cancellation_stops_training(monkeypatch):
    monkeypatch.setattr("analysis.dufm.descent.HEARD_SECONDS", 0.0)
    here = Here(stop_after=50)
    with pytest.raises(Stop):
        train(here, steps=10_000_000)
    assert len(here.heard) == 51
    assert {phase for phase, _, _ in here.heard} == {"training"}
    assert all(0 <= current <= total == 10_000_000 for _, current, total in here.heard)


def test_progress_goes_through_the_phases(monkeypatch):
    monkeypatch.setattr("analysis.dufm.descent.HEARD_SECONDS", 0.0)
    here = Here()
    train(here, steps=300, runs=2)
    assert list(dict.fromkeys(phase for phase, _, _ in here.heard)) == ["training", "classifying", "measuring"]
    steps = [current for phase, current, _ in here.heard if phase == "training"]
    assert steps == sorted(steps)


def test_defaults_are_those_of_the_paper():
    command = TrainDufm(kind="train_dufm")
    assert (command.num_classes, command.depth, command.width, command.learning_rate) == (10, 4, 30, 0.5)
    assert (command.weight_decay, command.feature_decay, command.optimizer) == (0.004, 0.004, "gd")


def test_memory_is_estimated_with_what_the_optimiser_keeps():
    """0.46 GiB of variables: six times that for plain descent, eleven times for Adam."""
    large = {"num_classes": 10, "depth": 4, "width": 450, "weight_decay": 0.01, "feature_decay": 0.01, "runs": 100}
    TrainDufm.model_validate({"kind": "train_dufm", "optimizer": "gd", **large})
    with pytest.raises(ValueError, match=r"about 5\.1 GiB"):
        TrainDufm.model_validate({"kind": "train_dufm", "optimizer": "adam", **large})
