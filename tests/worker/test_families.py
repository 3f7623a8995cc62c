"""A sweep through the worker: its message, its children as the command sees them, the files that it keeps."""

import json
from dataclasses import replace

import pytest

from analysis.commands import SweepDufm
from analysis.dufm import sweep as collecting
from jobs.queue import Queue, create_celery
from jobs.store import NewJob
from jobs.tables import ENDED, Job
from worker.surroundings import Children
from worker.sweep import Sweep

BASE = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "width": 3, "steps": 20, "record_every": 10}


@pytest.fixture
def family(services):
    """A sweep of three small trainings; gives the parent's row and the children's."""

    def make(**changes: object) -> tuple[Job, list[Job]]:
        values = {"kind": "sweep_dufm", "base": BASE, "grid": {"width": [1, 2, 3]}, **changes}
        command = SweepDufm.model_validate(values)
        children = [NewJob(kind=child.kind, parameters=child.model_dump(mode="json")) for child in command.children()]
        new = NewJob(kind=command.kind, parameters=command.model_dump(mode="json"), children=children)
        parent, _ = services.jobs.create(new)
        return parent, list(services.jobs.children(parent.id))

    return make


@pytest.fixture
def sweep(services, make_sweep) -> Sweep:
    return make_sweep(services)


def report_of(services, job: Job) -> dict:
    return json.loads(services.jobs.report(job.id).body)


def in_folder(services) -> list[str]:
    return services.feature_sets.files.untouched(for_seconds=-1)


def test_the_end_of_the_last_child_rings_for_the_parent(services, runner, family) -> None:
    parent, children = family()
    for child in children:
        assert services.queue.waiting() == set()
        runner.run_job(child.id)
    assert services.queue.waiting() == {parent.id}
    runner.run_job(parent.id)
    assert services.jobs.get(parent.id).status == "succeeded"
    cells = report_of(services, parent)["sweep"]["cells"]
    assert [cell["jobs"] for cell in cells] == [[child.id] for child in children]
    assert [row.name for row in services.jobs.artifacts(parent.id)] == ["sweep.csv"]


def test_a_message_for_the_parent_comes_early_and_does_no_harm(services, runner, family) -> None:
    parent, children = family()
    runner.run_job(parent.id)
    for child in children:
        runner.run_job(child.id)
        runner.run_job(parent.id)
    runner.run_job(parent.id)
    done = services.jobs.get(parent.id)
    assert (done.status, done.attempts) == ("succeeded", 1)


def test_a_parent_whose_last_child_told_nobody_is_sent_by_the_sweep(services, family, sweep) -> None:
    """As when a worker dies between the end of the last child and the message."""
    parent, children = family()
    for child in children:
        token = services.jobs.claim(child.id, lease_seconds=60).lease_token
        assert services.jobs.fail(child.id, token, code="c", detail="d")
    assert services.queue.waiting() == set()
    sweep.sweep_jobs()
    assert services.queue.waiting() == {parent.id}


def test_children_that_kill_their_worker_do_not_hold_up_the_parent(services, runner, family, sweep) -> None:
    parent, children = family()
    for _ in range(services.settings.max_attempts):
        for child in children:
            services.jobs.claim(child.id, lease_seconds=-1)
        sweep.sweep_jobs()
    runner.run_job(parent.id)
    failures = report_of(services, parent)["sweep"]["failures"]
    assert [(failure["job_id"], failure["code"]) for failure in failures] == [
        (child.id, "worker_lost") for child in children
    ]


def test_a_broker_that_is_away_leaves_the_parent_to_the_sweep(services, runner, family, sweep) -> None:
    parent, children = family(grid={"width": [1]})
    nowhere = Queue(create_celery("redis://127.0.0.1:1/0"))
    replace(runner, queue=nowhere).run_job(children[0].id)
    nowhere.close()
    assert services.jobs.get(children[0].id).status in ENDED
    assert services.queue.waiting() == set()
    sweep.sweep_jobs()
    assert services.queue.waiting() == {parent.id}


def test_a_command_sees_its_children_in_their_order_each_with_its_report(services, runner, family) -> None:
    parent, (first, second, third) = family()
    runner.run_job(third.id)
    services.jobs.request_cancel(first.id)
    token = services.jobs.claim(second.id, lease_seconds=60).lease_token
    services.jobs.fail(second.id, token, code="c", detail="d")
    children = Children(services.jobs, services.jobs.children(parent.id))
    assert [(child.job_id, child.status, child.error_code, child.error_detail) for child in children] == [
        (first.id, "cancelled", None, None),
        (second.id, "failed", "c", "d"),
        (third.id, "succeeded", None, None),
    ]
    assert [child.parameters["width"] for child in children] == [1, 2, 3]
    assert [child.report and child.report["job_id"] for child in children] == [None, None, third.id]
    assert [child.job_id for child in children[1:]] == [second.id, third.id]


@pytest.mark.parametrize("end", ["fails", "is stopped"])
def test_a_job_that_brings_nothing_leaves_no_file(services, runner, family, monkeypatch, end) -> None:
    def keep_and_end(command, surroundings) -> None:
        surroundings.keep_artifact("sweep.csv", b"a,b\n")
        if end == "fails":
            raise RuntimeError("broken")
        services.jobs.request_cancel(surroundings.job_id)
        surroundings.progress(phase="collecting", current=0, total=1)

    parent, children = family(grid={"width": [1]})
    services.jobs.request_cancel(children[0].id)
    monkeypatch.setattr(collecting, "collect", keep_and_end)
    runner.run_job(parent.id)
    assert services.jobs.get(parent.id).status == {"fails": "failed", "is stopped": "cancelled"}[end]
    assert services.jobs.artifacts(parent.id) == []
    assert in_folder(services) == []
    assert list(services.feature_sets.files.staging.iterdir()) == []


def test_a_lease_that_is_lost_at_the_last_moment_leaves_files_to_the_garbage_only(
    services, runner, family, sweep, monkeypatch
) -> None:
    parent, children = family(grid={"width": [1]})
    services.jobs.request_cancel(children[0].id)
    collect = collecting.collect

    def collect_then_lose(command, surroundings):
        report = collect(command, surroundings)
        with services.database.write() as session:
            session.get(Job, parent.id).lease_token = "another"
        return report

    monkeypatch.setattr(collecting, "collect", collect_then_lose)
    runner.run_job(parent.id)
    assert services.jobs.get(parent.id).status == "running"
    assert len(in_folder(services)) == 1
    assert services.artifacts.blobs.collect_garbage(grace_seconds=0) == 1
