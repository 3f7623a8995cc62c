"""A measurement that is spread over jobs, through store, runner and broker: one report, whoever takes which part."""

import json
from dataclasses import replace

import pytest
from feature_files import feature_arrays, write_file

from analysis import spread
from jobs.store import ArtifactFile, Filter, NewJob

PARTS = 4
NOT_COMPARED = {"job_id", "created_at", "timings"}


@pytest.fixture
def features(services, tmp_path) -> str:
    """A set in parts."""
    sets = services.feature_sets
    features_id = sets.open_set(layer_order=None).id
    for index in range(PARTS):
        arrays = feature_arrays(seed=0, num_samples=200)
        rows = slice(50 * index, 50 * index + 50)
        part = {name: value if name.startswith("w") else value[rows] for name, value in arrays.items()}
        if index != 1:
            part = {name: value for name, value in part.items() if not name.startswith(("weights", "biases"))}
        with sets.files.stage() as staged:
            staged.write(write_file(tmp_path / "part.safetensors", part).read_bytes())
            staged.finish()
            sets.add_part(features_id, index, staged)
    return str(sets.complete(features_id).id)


@pytest.fixture
def runners(runner, monkeypatch):
    """One that spreads everything, and one that spreads nothing."""
    monkeypatch.setattr(spread, "GROUP_BYTES", 1)
    monkeypatch.setattr(spread, "LARGEST_SHARE", 1e9)
    many = replace(runner, settings=runner.settings.model_copy(update={"spread_bytes": 1}))
    return many, replace(runner, settings=runner.settings.model_copy(update={"spread_bytes": 0}))


def run_all(services, runner) -> None:
    """Run whatever lies in the broker, until nothing does."""
    while waiting := services.queue.waiting():
        services.queue._redis.delete("cpu")
        for job_id in sorted(waiting):
            runner.run_job(job_id)


def body(services, job) -> dict:
    report = json.loads(services.jobs.report(job.id).body)
    return {key: value for key, value in report.items() if key not in NOT_COMPARED}


def assert_close(ours, theirs) -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for key, value in theirs.items():
            assert_close(ours[key], value)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs, strict=True):
            assert_close(*pair)
    else:
        assert ours == (pytest.approx(theirs, rel=1e-10, abs=1e-10) if isinstance(theirs, float) else theirs)


def test_one_job_and_many_have_the_same_report(services, runners, submit, features) -> None:
    many, one = runners
    alone = submit(features=features, run="r", step=1)
    run_all(services, one)
    spread_out = submit(features=features, run="s", step=1)
    run_all(services, many)
    assert_close({**body(services, spread_out), "run": "r"}, body(services, alone))
    done = services.jobs.get(spread_out.id)
    assert (done.status, done.attempts, done.num_children, done.pending_children) == ("succeeded", 1, 2 * PARTS, 0)
    children = services.jobs.children(done.id)
    assert [child.status for child in children] == ["succeeded"] * 2 * PARTS
    assert {child.run for child in children} == {None}  # they are no steps of the run
    listed = {job.id for job in services.jobs.list(Filter(), limit=100)}
    assert listed == {alone.id, spread_out.id}
    assert len(services.jobs.list(Filter(parent=done.id), limit=100)) == 2 * PARTS


def test_while_its_children_work_the_parent_is_nobodys(services, runners, submit, features) -> None:
    many, _ = runners
    job = submit(features=features)
    many.run_job(job.id)
    waiting = services.jobs.get(job.id)
    assert (waiting.status, waiting.lease_token, waiting.phase) == ("running", None, "children")
    assert (waiting.current, waiting.total, waiting.pending_children) == (0, PARTS, PARTS)
    assert services.jobs.claim(job.id, lease_seconds=60) is None
    assert services.repair.expire_leases(max_attempts=3).requeued == []
    for child in services.jobs.children(job.id):
        many.run_job(child.id)
    assert services.jobs.get(job.id).status == "queued"


def test_a_cancel_reaches_the_children(services, runners, submit, features) -> None:
    many, _ = runners
    job = submit(features=features)
    many.run_job(job.id)
    services.jobs.request_cancel(job.id)
    assert services.jobs.get(job.id).status == "cancelled"
    assert {child.status for child in services.jobs.children(job.id)} == {"cancelled"}


def test_a_job_that_is_to_be_cancelled_gets_no_children(services, submit) -> None:
    job = submit(send=False)
    token = services.jobs.claim(job.id, lease_seconds=60).lease_token
    services.jobs.request_cancel(job.id)
    child = NewJob(kind="accumulate_moments", parameters={})
    assert services.jobs.wait_for_children(job.id, token, [child]) is None
    assert services.jobs.children(job.id) == []


def test_a_lost_lease_makes_no_children(services, submit) -> None:
    job = submit(send=False)
    services.jobs.claim(job.id, lease_seconds=60)
    kept = ArtifactFile(name="moments.safetensors", sha256="0" * 64, size_bytes=1, media_type="x")
    child = NewJob(kind="accumulate_moments", parameters={})
    assert services.jobs.wait_for_children(job.id, "another's", [child], artifacts=[kept]) is None
    assert services.jobs.children(job.id) == []
    assert services.jobs.artifact(job.id, kept.name) is None


def test_a_child_that_fails_fails_the_job_in_its_words(services, runners, submit, features) -> None:
    many, _ = runners
    job = submit(features=features)
    many.run_job(job.id)
    first, *others = services.jobs.children(job.id)
    token = services.jobs.claim(first.id, lease_seconds=60).lease_token
    services.jobs.fail(first.id, token, code="out_of_memory", detail="The job needs more memory than the worker has.")
    for child in others:
        many.run_job(child.id)
    many.run_job(job.id)
    failed = services.jobs.get(job.id)
    assert (failed.status, failed.error_code) == ("failed", "out_of_memory")
    assert "more memory" in failed.error_detail
