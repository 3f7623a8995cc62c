"""Real worker processes on a real broker, killed at bad moments; on SQLite alone where the database plays no part."""

import os
import signal
import time
from pathlib import Path

import pytest
from service_process import wait_for

pytestmark = pytest.mark.timeout(300)


def test_jobs_that_were_posted_before_any_worker_all_finish(services, submit, start_worker, ended) -> None:
    jobs = [submit() for _ in range(40)]
    start_worker()
    assert {ended(job).status for job in jobs} == {"succeeded"}
    assert {services.jobs.get(job.id).attempts for job in jobs} == {1}


def test_a_job_without_a_message_is_sent_by_the_sweep(submit, start_worker, ended) -> None:
    job = submit(send=False)
    start_worker()
    assert ended(job).status == "succeeded"


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_killed_child_costs_an_attempt_and_nothing_else(
    submit, slow_features, start_worker, under_way, ended, computing_child
) -> None:
    worker = start_worker()
    job = submit(features=slow_features, spectra=["features"])
    under_way(job)
    os.kill(computing_child(worker.pid), signal.SIGKILL)
    done = ended(job)
    assert (done.status, done.attempts) == ("succeeded", 2)


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_killed_worker_leaves_its_job_to_the_next(submit, slow_features, start_worker, under_way, ended) -> None:
    worker = start_worker()
    job = submit(features=slow_features, spectra=["features"])
    under_way(job)
    worker.kill()
    worker.wait()
    start_worker()
    done = ended(job)
    assert (done.status, done.attempts) == ("succeeded", 2)


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_stopped_worker_hands_its_job_back_without_burning_an_attempt(
    services, submit, slow_features, start_worker, under_way, ended
) -> None:
    worker = start_worker()
    job = submit(features=slow_features, spectra=["features"])
    under_way(job)
    worker.terminate()
    assert worker.wait(30) == 0
    back = services.jobs.get(job.id)
    assert (back.status, back.attempts) == ("queued", 0)
    start_worker()
    assert ended(job).attempts == 1


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_running_job_is_cancelled_within_seconds(
    services, submit, slow_features, start_worker, under_way, ended
) -> None:
    start_worker()
    job = submit(features=slow_features, spectra=["features"])
    under_way(job)
    asked = time.monotonic()
    services.jobs.request_cancel(job.id)
    assert ended(job).status == "cancelled"
    assert time.monotonic() - asked < 5
    assert ended(submit()).status == "succeeded"  # the worker goes on


def test_the_child_is_spawned_not_forked(start_worker, computing_child) -> None:
    # A forked child of a parent that has used torch hangs for ever; `spawn` starts a fresh interpreter.
    worker = start_worker()
    child = wait_for(lambda: computing_child(worker.pid), "the child")
    assert b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
