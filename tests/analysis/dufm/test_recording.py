"""What is recorded, against the metrics' own definitions, and the table against the bands."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from dufm_models import model, random_variables

from analysis.dufm.layers import measure_solution
from analysis.dufm.model import Variables
from analysis.dufm.recording import METRICS, Recording


def recorded(problem, runs=3, steps=(0, 10, 20), interval=10):
    recording = Recording(problem, seeds=range(7, 7 + runs), steps=steps[-1], interval=interval)
    for step in steps:
        recording.record(step, range(runs), random_variables(problem, runs=runs, seed=step))
    return recording


def rows_of(recording):
    return pq.read_table(io.BytesIO(recording.parquet())).to_pylist()


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_layers_are_recorded_as_reports_measure_them(activation):
    problem = model(num_classes=4, depth=3, width=(6, 3, 9), samples_per_class=5, activation=activation)
    variables = random_variables(problem, runs=2)
    recording = Recording(problem, seeds=[0, 1], steps=1, interval=1)
    recording.record(0, [0, 1], variables)
    rows = {(row["run"], row["layer"], row["metric"]): row["value"] for row in rows_of(recording)}
    for run in range(2):
        for layer in measure_solution(problem, variables.run(run)):
            for metric in METRICS:
                assert rows[run, layer.name, metric] == pytest.approx(layer.metrics[metric], rel=1e-9)
            spectrum = [
                rows[run, layer.name, f"singular_value_{index}"]
                for index in range(1, len(layer.spectra.class_means) + 1)
            ]
            assert spectrum == pytest.approx(layer.spectra.class_means, rel=1e-9, abs=1e-12)


def test_single_samples_and_dead_layers_have_no_variability():
    problem = model(samples_per_class=1)
    trajectory = recorded(problem).trajectory()
    assert set(trajectory.metrics["variability_trace_ratio"]["H_2"].mean) == {None}
    problem = model(samples_per_class=2)
    variables = random_variables(problem)
    variables.weights[0].zero_()
    recording = Recording(problem, seeds=[0], steps=1, interval=1)
    recording.record(0, [0], variables)
    variability = recording.trajectory().metrics["variability_trace_ratio"]
    assert variability["H_1"].mean[0] > 0
    assert variability["H_2"].mean == (None,)
    assert recording.trajectory().metrics["class_mean_rank"]["H_2"].mean == (0,)


def test_vanished_runs_have_rank_zero():
    problem = model(decay=0.5)
    recording = Recording(problem, seeds=[0], steps=1, interval=1)
    recording.record(0, [0], random_variables(problem, scale=1e-9))
    assert {band.mean for band in recording.trajectory().metrics["class_mean_rank"].values()} == {(0,)}


def test_bands_are_those_of_the_table():
    problem = model(num_classes=3, depth=2, width=4, samples_per_class=2)
    recording = recorded(problem)
    rows, trajectory = rows_of(recording), recording.trajectory()
    assert trajectory.step == (0, 10, 20)
    assert {(row["run"], row["seed"]) for row in rows} == {(0, 7), (1, 8), (2, 9)}

    def values(layer, metric, step):
        return [row["value"] for row in rows if (row["layer"], row["metric"], row["step"]) == (layer, metric, step)]

    for index, step in enumerate(trajectory.step):
        for metric in ("loss", "fit", "regularization"):
            band, of_runs = getattr(trajectory, metric), values(None, metric, step)
            found = (band.mean[index], band.std[index], band.min[index], band.max[index])
            assert found == pytest.approx((np.mean(of_runs), np.std(of_runs), min(of_runs), max(of_runs)))
        for layer in problem.layers:
            for metric in METRICS:
                band, of_runs = trajectory.metrics[metric][layer], values(layer, metric, step)
                assert (band.mean[index], band.std[index]) == pytest.approx((np.mean(of_runs), np.std(of_runs)))
            first = values(layer, "singular_value_1", step)
            assert trajectory.singular_values[layer].mean[index][0] == pytest.approx(np.mean(first))
            assert trajectory.singular_values[layer].std[index][0] == pytest.approx(np.std(first), abs=1e-15)


def test_runs_that_have_converged_keep_their_last_values_and_diverged_ones_are_left_out():
    problem = model()
    recording = Recording(problem, seeds=range(3), steps=20, interval=10)
    start, end = random_variables(problem, runs=3), random_variables(problem, seed=1)
    recording.record(0, [0, 1, 2], start)
    recording.record(5, [0], end)  # has converged between two records
    recording.leave_out(8, 1)
    recording.record(10, [2], start.run(2))
    recording.record(20, [2], start.run(2))
    trajectory = recording.trajectory()
    assert trajectory.step == (0, 10, 20)
    last, of_third = recording.losses_of(0)[5], recording.losses_of(2)[0]
    assert trajectory.loss.min[1:] == (min(last, of_third),) * 2
    assert trajectory.loss.mean[1:] == pytest.approx(((last + of_third) / 2,) * 2)
    assert trajectory.loss.mean[0] == pytest.approx(np.mean([recording.losses_of(run)[0] for run in range(3)]))
    assert {(row["run"], row["step"]) for row in rows_of(recording)} == {
        (0, 0),
        (1, 0),
        (2, 0),
        (0, 5),
        (2, 10),
        (2, 20),
    }


def test_what_is_not_finite_is_null_and_harms_no_other_run():
    problem = model()
    variables = random_variables(problem, runs=2)
    broken = Variables(variables.features.clone(), variables.weights)
    broken.features[0] = torch.inf
    recording = Recording(problem, seeds=[0, 1], steps=1, interval=1)
    recording.record(0, [0, 1], broken)
    alone = Recording(problem, seeds=[1], steps=1, interval=1)
    alone.record(0, [0], variables.run(1))
    rows = [row["value"] for row in rows_of(recording) if row["run"] == 1]
    assert rows == [row["value"] for row in rows_of(alone)]


def test_many_steps_are_thinned_in_the_report_and_not_in_the_table(monkeypatch):
    problem = model(num_classes=2, depth=1, width=2)
    recording = recorded(problem, runs=1, steps=tuple(range(0, 501)), interval=1)
    trajectory = recording.trajectory()
    assert len(trajectory.step) == 501
    assert len(trajectory.singular_value_steps) == 200 == len(trajectory.singular_values["H_1"].mean)
    assert (trajectory.singular_value_steps[0], trajectory.singular_value_steps[-1]) == (0, 500)
    assert len({row["step"] for row in rows_of(recording)}) == 501


def test_what_is_too_much_is_recorded_less_often(monkeypatch):
    problem = model(num_classes=2, depth=1, width=2)
    numbers = len(Recording(problem, seeds=[0], steps=1, interval=1).columns)
    monkeypatch.setattr("analysis.dufm.recording.MOST_NUMBERS", 11 * 3 * numbers)
    recording = Recording(problem, seeds=range(3), steps=1000, interval=10)
    assert recording.interval == 100
    assert Recording(problem, seeds=range(3), steps=100, interval=10).interval == 10
    monkeypatch.setattr("analysis.dufm.recording.MOST_NUMBERS", 1)
    assert Recording(problem, seeds=range(3), steps=1000, interval=10).interval == 1000


def test_nothing_recorded_is_an_empty_table():
    recording = Recording(model(), seeds=[0], steps=1, interval=1)
    assert recording.trajectory().step == ()
    assert rows_of(recording) == []
