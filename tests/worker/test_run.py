"""`run_job`, a plain function: every way in which a job can end."""

import json
from dataclasses import replace

import pytest
from feature_files import feature_arrays

from analysis import spread
from jobs.blobs import Blobs
from jobs.errors import Unavailable
from jobs.feature_sets import FeatureSets
from jobs.files import open_file_store
from jobs.store import RepairStore


def test_a_job_succeeds_with_report_and_measurements(services, runner, submit) -> None:
    job = submit(send=False)
    runner.run_job(job.id)
    done = services.jobs.get(job.id)
    assert (done.status, done.error_code, done.lease_token) == ("succeeded", None, None)
    assert services.jobs.report(job.id).body.startswith("{")


def test_twenty_deliveries_make_one_attempt(services, runner, submit) -> None:
    job = submit(send=False)
    for _ in range(20):
        runner.run_job(job.id)
    assert services.jobs.get(job.id).attempts == 1


def test_an_unknown_id_is_no_trouble(runner) -> None:
    runner.run_job("job_nowhere")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("secret"), "internal_error"),
        (ZeroDivisionError(), "internal_error"),
    ],
)
def test_what_a_command_raises_ends_the_job_in_words(services, runner, submit, monkeypatch, error, code) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(spread, "measure", broken)
    job = submit(send=False)
    runner.run_job(job.id)
    failed = services.jobs.get(job.id)
    assert (failed.status, failed.error_code) == ("failed", code)
    assert failed.error_detail
    assert "secret" not in failed.error_detail


def test_a_layer_that_is_not_there_fails_with_the_code_of_the_api(services, runner, submit) -> None:
    job = submit(send=False, layers=["layer9"])
    runner.run_job(job.id)
    failed = services.jobs.get(job.id)
    assert (failed.status, failed.error_code) == ("failed", "invalid_request")
    assert "layer9" in failed.error_detail


def test_a_blob_that_is_gone_fails_the_job(services, runner, submit, upload) -> None:
    features = upload(feature_arrays())
    job = submit(send=False, features=features)
    services.feature_sets.files.path(services.feature_sets.store.get(features).sha256).unlink()
    runner.run_job(job.id)
    failed = services.jobs.get(job.id)
    assert (failed.status, failed.error_code) == ("failed", "file_lost")


def test_a_job_goes_back_when_the_store_of_files_is_away(services, runner, submit) -> None:
    job = submit(send=False)
    nowhere = services.settings.model_copy(update={"blob_url": "s3://nowhere", "blob_endpoint": "http://127.0.0.1:1"})
    blobs = Blobs(open_file_store(nowhere, patience_seconds=0.1), services.artifacts.blobs.store)
    replace(runner, feature_sets=FeatureSets(nowhere, services.feature_sets.store, blobs)).run_job(job.id)
    back = services.jobs.get(job.id)
    assert (back.status, back.attempts, back.queued_at) == ("queued", 0, None)
    runner.run_job(job.id)  # the store is there again
    assert services.jobs.get(job.id).status == "succeeded"


def test_a_cancel_before_the_first_tile_is_obeyed(services, runner, submit, monkeypatch) -> None:
    job = submit(send=False)
    claim = services.jobs.claim

    def claim_then_cancel(job_id: str, **settings: object):
        claimed = claim(job_id, **settings)
        services.jobs.request_cancel(job_id)
        return claimed

    monkeypatch.setattr(services.jobs, "claim", claim_then_cancel)
    runner.run_job(job.id)
    assert services.jobs.get(job.id).status == "cancelled"


def test_a_stopping_worker_hands_its_job_back(services, runner, submit) -> None:
    job = submit(send=False)
    runner.stopping.set()
    runner.run_job(job.id)
    back = services.jobs.get(job.id)
    assert (back.status, back.attempts) == ("queued", 0)
    runner.stopping.clear()
    runner.run_job(job.id)
    assert services.jobs.get(job.id).status == "succeeded"


def test_a_lost_lease_writes_nothing(services, runner, submit, monkeypatch) -> None:
    job = submit(send=False)
    claim = services.jobs.claim

    def claim_then_lose(job_id: str, **settings: object):
        claimed = claim(job_id, lease_seconds=-1)
        RepairStore(services.database).expire_leases(max_attempts=3)
        return claimed

    monkeypatch.setattr(services.jobs, "claim", claim_then_lose)
    runner.run_job(job.id)
    assert services.jobs.get(job.id).status == "queued"


def test_a_short_absence_of_the_database_loses_no_result(services, runner, submit, monkeypatch) -> None:
    job = submit(send=False)
    succeed, refusals = services.jobs.succeed, iter([True, True])

    def away_twice(*arguments: object, **values: object) -> bool:
        if next(refusals, False):
            raise Unavailable("database_unavailable", "away")
        return succeed(*arguments, **values)

    monkeypatch.setattr(services.jobs, "succeed", away_twice)
    runner.run_job(job.id)
    assert services.jobs.get(job.id).status == "succeeded"


def test_the_same_features_give_the_same_report(services, runner, submit, upload) -> None:
    features = upload(feature_arrays(seed=7))
    bodies = []
    for _ in range(2):
        job = submit(send=False, features=features)
        runner.run_job(job.id)
        bodies.append(services.jobs.report(job.id).body)
    first, second = (body[body.index('"layers"') : body.rindex('"timings"')] for body in bodies)
    assert first == second


def test_the_summary_tells_what_changed_since_the_step_before(services, runner, submit, upload) -> None:
    """The greatest smaller step of the same run that has a report: not another run's, not one that failed or waits."""
    reports = {}
    for run, step, noise in (("a", 1, 3.0), ("a", 2, 2.0), ("b", 4, 1.0), ("a", 9, 0.5), ("a", 5, 0.1)):
        job = submit(send=False, features=upload(feature_arrays(noise=noise)), run=run, step=step)
        runner.run_job(job.id)
        reports[run, step] = json.loads(services.jobs.report(job.id).body)
    submit(send=False, run="a", step=4)  # queued
    failed = submit(send=False, run="a", step=3, layers=["layer9"])
    runner.run_job(failed.id)
    last = submit(send=False, features=upload(feature_arrays(noise=0.01)), run="a", step=5)
    runner.run_job(last.id)
    assert reports["a", 1]["summary"]["since_previous_step"] is None
    since = json.loads(services.jobs.report(last.id).body)["summary"]["since_previous_step"]
    assert (since["step"], since["job_id"]) == (2, reports["a", 2]["job_id"])
    before = reports["a", 2]["layers"][0]["metrics"]["variability_trace_ratio"]
    assert since["layers"][0]["metrics"]["variability_trace_ratio"]["before"] == before
    assert (since["layers"][0]["collapsed_before"], since["layers"][0]["collapsed_now"]) == (False, True)


def test_a_job_of_no_run_has_no_step_before(services, runner, submit) -> None:
    for step in (None, 1, 2):
        job = submit(send=False, step=step)
        runner.run_job(job.id)
        assert json.loads(services.jobs.report(job.id).body)["summary"]["since_previous_step"] is None
