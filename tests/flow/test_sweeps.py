"""DUFM jobs and sweeps through the whole service: several workers, a child that fails, a cancel that reaches all."""

import io

import numpy as np
import pytest
import safetensors.numpy
from service_process import wait_for

from collapse_client import JobFailed, ServiceError

pytestmark = pytest.mark.timeout(300)

BASE = {"kind": "train_dufm", "num_classes": 3, "depth": 3, "width": 4, "steps": 2000, "runs": 2}
LONG = {**BASE, "num_classes": 10, "steps": 10_000_000, "record_every": 10_000, "stop_when": None}


def test_a_training_leaves_its_solution_and_its_trajectory(client) -> None:
    parameters = {name: value for name, value in BASE.items() if name != "kind"}
    job = client.wait(client.submit("train_dufm", **parameters), timeout_seconds=120)
    report = client.report(job["id"])
    assert len(report["training"]["runs"]) == 2
    files = {artifact["name"]: artifact["size_bytes"] for artifact in client.artifacts(job["id"])}
    assert set(report["artifacts"]) == set(files)
    solution = safetensors.numpy.load(client.artifact(job["id"], "solution.safetensors"))
    assert set(solution) == {"H_1", "W_1", "W_2", "W_3"}
    best = report["training"]["runs"][report["training"]["best_run"]]
    decay = 0.004 / 2 * sum(np.square(matrix).sum() for matrix in solution.values())
    assert decay == pytest.approx(best["regularization"], rel=1e-9)
    assert len(client.artifact(job["id"], "trajectory.parquet")) == files["trajectory.parquet"]
    with pytest.raises(ServiceError, match=r"solution\.safetensors"):
        client.artifact(job["id"], "nothing.csv")


def test_a_sweep_ends_with_the_report_of_what_its_children_found(client) -> None:
    grid = {"weight_decay": [0.001, 0.01, 1.0], "learning_rate": [0.1, 1000.0]}
    # Strong decay of the features too, so that a solution that goes to zero gets there in the steps given.
    sweep = client.submit("sweep_dufm", base={**BASE, "feature_decay": 0.05}, grid=grid, repeats=2, run="short")
    report = client.report(client.wait(sweep, timeout_seconds=120)["id"])
    cells = {tuple(cell["values"].values()): cell for cell in report["sweep"]["cells"]}
    assert len(cells) == 6
    assert {cell["succeeded"] for cell in cells.values()} == {2}
    assert (cells[0.01, 1000.0]["diverged"], cells[0.01, 1000.0]["loss"]) == (4, None)
    assert cells[1.0, 0.1]["structures"] == {"zero": 4}
    assert cells[1.0, 0.1]["loss"] == pytest.approx(0.5, abs=1e-6)
    assert cells[0.001, 0.1]["loss"] < cells[0.01, 0.1]["loss"]
    content = io.BytesIO(client.artifact(sweep["id"], "sweep.csv"))
    table = np.genfromtxt(content, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(table) == 24
    losses = table["loss"][(table["weight_decay"] == 0.001) & (table["learning_rate"] == 0.1)]
    assert losses.min() == cells[0.001, 0.1]["loss"]
    assert {job["run"] for job in client.jobs(parent=sweep["id"])} == {"short"}


def test_a_child_that_is_cancelled_by_hand_is_told_in_the_report(client) -> None:
    base = {**BASE, "record_every": 10_000, "stop_when": None}
    sweep = client.submit("sweep_dufm", base=base, grid={"steps": [1000, 10_000_000]})
    (running,) = wait_for(lambda: long_ones(client, sweep), "the long child", seconds=60)
    client.cancel(running["id"])
    report = client.report(client.wait(sweep, timeout_seconds=60)["id"])
    assert [(failure["job_id"], failure["status"]) for failure in report["sweep"]["failures"]] == [
        (running["id"], "cancelled")
    ]
    assert [(cell["succeeded"], cell["cancelled"]) for cell in report["sweep"]["cells"]] == [(1, 0), (0, 1)]
    assert report["sweep"]["cells"][0]["loss"] > 0
    assert client.job(sweep["id"])["attempts"] == 1


def long_ones(client, sweep) -> list:
    running = client.jobs(parent=sweep["id"], status="running")
    return [job for job in running if job["parameters"]["steps"] > 1000 and job["progress"]["current"]]


def test_a_cancel_of_a_sweep_reaches_its_running_children(client, num_workers) -> None:
    sweep = client.submit("sweep_dufm", base=LONG, grid={"width": [100, 120, 140, 160]}, run="long")
    wait_for(
        lambda: client.job(sweep["id"])["children"]["running"] == num_workers, "a child on every worker", seconds=60
    )
    wait_for(
        lambda: all(job["progress"]["current"] for job in client.jobs(parent=sweep["id"], status="running")),
        "their progress",
        seconds=60,
    )
    assert client.cancel(sweep["id"])["children"]["cancelled"] == 4 - num_workers
    with pytest.raises(JobFailed, match="cancelled"):
        client.wait(sweep, timeout_seconds=20)
    assert {job["status"] for job in client.jobs(parent=sweep["id"])} == {"cancelled"}
    client.delete_job(sweep["id"])
    assert list(client.jobs(run="long")) == []
