"""Two APIs and three workers that share nothing but a broker, a database and an object store."""

import itertools

import numpy as np
import pytest
from feature_files import feature_arrays
from service_process import wait_for

from collapse_client import CollapseError

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("cluster")]
NOT_COMPARED = {"job_id", "created_at", "timings", "run", "step"}
PART_SAMPLES = 36_000
"""Of 256 float32 each: two such parts are more than one job of a measurement that is spread takes at least."""


@pytest.fixture
def worker_of(cluster):
    """Finds the worker that has started a job last, by what the workers have logged."""

    def find(job_id: str) -> str | None:
        lines = {
            name: [line for line in process.log.read_text().splitlines() if job_id in line and "job started" in line]
            for name, process in cluster.workers.items()
        }
        started = [name for name in lines if lines[name]]
        return max(started, key=lambda name: lines[name][-1].rpartition('"timestamp"')[2], default=None)

    return find


def assert_close(ours, theirs, where="report") -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key in set(theirs) - NOT_COMPARED:
            assert_close(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_close(*pair, f"{where}[{index}]")
    else:
        assert ours == (pytest.approx(theirs, rel=1e-10, abs=1e-10) if isinstance(theirs, float) else theirs), where


def test_what_one_api_takes_the_other_has(clients) -> None:
    first, second = clients
    features = first.upload(feature_arrays(seed=1))
    assert second.upload(feature_arrays(seed=1))["id"] == features["id"]
    job = second.submit("measure_collapse", features=features["id"], idempotency_key="once")
    assert first.submit("measure_collapse", features=features["id"], idempotency_key="once")["id"] == job["id"]
    assert first.wait(job, timeout_seconds=60)["status"] == "succeeded"
    assert first.report(job) == second.report(job)
    training = first.wait(
        first.submit("train_dufm", num_classes=3, depth=3, width=4, steps=200, runs=1), timeout_seconds=60
    )
    (solution,) = {client.artifact(training, "solution.safetensors") for client in clients}
    assert len(solution) > 3 * 4 * 8


def test_a_set_in_parts_is_measured_by_all_workers_with_the_report_of_one(clients, cluster, worker_of) -> None:
    first, second = clients
    generator = np.random.default_rng(0)
    means = generator.normal(size=(5, 256)).astype(np.float32)
    labels = np.arange(6 * PART_SAMPLES) % 5
    samples = means[labels] + 0.5 * generator.standard_normal((len(labels), 256), dtype=np.float32)
    weights = generator.normal(size=(5, 256)).astype(np.float32)
    in_parts = first.open_parts()
    for index, client in zip(range(6), itertools.cycle(clients), strict=False):
        rows = slice(index * PART_SAMPLES, (index + 1) * PART_SAMPLES)
        part = {"labels": labels[rows], "features.a": samples[rows]}
        client.put_part(in_parts["id"], index, {**part, "weights.a": weights} if index == 2 else part)
    second.complete(in_parts["id"])
    spread = second.submit("measure_collapse", features=in_parts["id"])
    whole = first.upload({"labels": labels, "features.a": samples, "weights.a": weights})
    alone = first.submit("measure_collapse", features=whole["id"])
    reports = [first.report(first.wait(job, timeout_seconds=120)) for job in (spread, alone)]
    assert_close(*reports)
    children = list(second.jobs(parent=spread["id"]))
    assert {child["status"] for child in children} == {"succeeded"}
    assert len(children) == 6  # three groups of two parts, in two rounds
    assert len({worker_of(child["id"]) for child in children}) > 1
    assert list(second.jobs(parent=alone["id"])) == []


def test_the_job_of_a_lost_worker_goes_to_another(clients, cluster, worker_of, slow_arrays) -> None:
    first, second = clients
    slow = {
        "labels": slow_arrays["labels"],
        "features.wide": np.ascontiguousarray(slow_arrays["features.wide"][:, :1500]),
    }
    job = first.submit("measure_collapse", features=second.upload(slow)["id"], spectra=["features"])
    wait_for(lambda: second.job(job["id"])["progress"]["current"], "progress", seconds=60)
    lost = worker_of(job["id"])
    cluster.workers[lost].kill()
    others = [first.submit("measure_collapse", features=first.upload(feature_arrays())["id"]) for _ in range(6)]
    assert {second.wait(other, timeout_seconds=60)["status"] for other in others} == {"succeeded"}
    ended = second.wait(job, timeout_seconds=120)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    assert worker_of(job["id"]) != lost


def test_the_loss_of_an_api_loses_nothing_that_was_accepted(clients, cluster, connect) -> None:
    first, second = clients
    features = first.upload(feature_arrays(seed=2))
    jobs = [first.submit("measure_collapse", features=features["id"]) for _ in range(3)]
    cluster.apis["api-1"].kill()
    with pytest.raises(CollapseError, match="does not answer"):
        connect(cluster.urls[0], cluster.api_key, retry_seconds=0).job(jobs[0]["id"])
    assert {second.wait(job, timeout_seconds=60)["status"] for job in jobs} == {"succeeded"}
    assert second.features(features["id"])["status"] == "ready"
    late = second.submit("measure_collapse", features=features["id"])
    cluster.apis["api-1"].start()
    cluster.wait_until_ready()
    again = connect(cluster.urls[0], cluster.api_key)
    assert again.report(again.wait(late, timeout_seconds=60))["num_samples"] == 200
