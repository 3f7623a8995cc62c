"""The life of a job row, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound
from jobs.store import Filter, MeasurementRow

LEASE = 10


def claim(jobs, job):
    claimed = jobs.claim(job.id, lease_seconds=LEASE)
    assert claimed is not None
    return claimed


def test_a_new_job_is_queued_and_found(jobs, new_job) -> None:
    job, created = jobs.create(new_job(run="r", step=3, tags=["a", "b", "a"]))
    assert created
    found = jobs.get(job.id)
    assert (found.status, found.run, found.step, found.tags, found.attempts) == ("queued", "r", 3, ["a", "b", "a"], 0)


def test_an_unknown_job_is_told(jobs) -> None:
    with pytest.raises(NotFound, match="GET /v1/jobs"):
        jobs.get("job_nowhere")


def test_a_worker_claims_what_fits_into_its_memory(jobs, new_job) -> None:
    job, _ = jobs.create(new_job(memory_bytes=1000, queue="cpu-large"))
    assert jobs.claim(job.id, lease_seconds=LEASE, memory_bytes=999) is None
    assert jobs.get(job.id).status == "queued"
    assert jobs.claim(job.id, lease_seconds=LEASE, memory_bytes=1000).queue == "cpu-large"


def test_only_one_of_many_claims_wins(jobs, new_job) -> None:
    job, _ = jobs.create(new_job())
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: jobs.claim(job.id, lease_seconds=LEASE), range(20)))
    assert sum(claimed is not None for claimed in claims) == 1
    assert jobs.get(job.id).attempts == 1


def test_success_writes_report_and_measurements_together(jobs, new_job) -> None:
    job, _ = jobs.create(new_job(run="r", step=1))
    claimed = claim(jobs, job)
    rows = [MeasurementRow("a", 0, "class_mean_rank", 9.0), MeasurementRow("a", 0, "equinorm", None)]
    assert jobs.succeed(job.id, claimed.lease_token, body="{}", etag="e", measurements=rows)
    assert jobs.get(job.id).status == "succeeded"
    assert jobs.report(job.id).body == "{}"


def test_an_old_owner_cannot_write(jobs, repair, new_job, clock) -> None:
    job, _ = jobs.create(new_job())
    old = claim(jobs, job).lease_token
    clock.move(LEASE + 1)
    assert list(repair.expire_leases(max_attempts=3).requeued) == [job.id]
    new = claim(jobs, job).lease_token
    assert not jobs.renew(job.id, old, lease_seconds=LEASE).lease_held
    assert not jobs.progress(job.id, old, phase="x", current=1, total=2).lease_held
    assert not jobs.succeed(job.id, old, body="{}", etag="old", measurements=[])
    assert not jobs.fail(job.id, old, code="c", detail="d")
    assert not jobs.confirm_cancel(job.id, old)
    assert not jobs.release(job.id, old)
    assert jobs.get(job.id).status == "running"
    assert jobs.succeed(job.id, new, body="{}", etag="new", measurements=[])
    assert jobs.report(job.id).etag == "new"


@pytest.mark.parametrize("end", ["succeed", "fail", "confirm_cancel"])
def test_an_end_is_never_overwritten(jobs, repair, new_job, clock, end) -> None:
    job, _ = jobs.create(new_job())
    token = claim(jobs, job).lease_token
    arguments = {
        "succeed": {"body": "{}", "etag": "e", "measurements": []},
        "fail": {"code": "c", "detail": "d"},
        "confirm_cancel": {},
    }
    assert getattr(jobs, end)(job.id, token, **arguments[end])
    status = jobs.get(job.id).status
    for other, values in arguments.items():
        assert not getattr(jobs, other)(job.id, token, **values)
    assert not jobs.release(job.id, token)
    assert jobs.claim(job.id, lease_seconds=LEASE) is None
    clock.move(10 * LEASE)
    repair.expire_leases(max_attempts=1)
    with pytest.raises(Conflict, match="already"):
        jobs.request_cancel(job.id)
    assert jobs.get(job.id).status == status


def test_a_release_burns_no_attempt(jobs, repair, new_job) -> None:
    job, _ = jobs.create(new_job())
    assert jobs.release(job.id, claim(jobs, job).lease_token)
    released = jobs.get(job.id)
    assert (released.status, released.attempts, released.started_at) == ("queued", 0, None)
    assert list(repair.perhaps_unsent(older_than_seconds=60)) == [job.id]  # the sweep sends it at once


def test_the_attempt_cap_ends_a_job_that_kills_its_worker(jobs, repair, new_job, clock) -> None:
    job, _ = jobs.create(new_job())
    for _ in range(3):
        claim(jobs, job)
        clock.move(LEASE + 1)
        repair.expire_leases(max_attempts=3)
    failed = jobs.get(job.id)
    assert (failed.status, failed.error_code, failed.attempts) == ("failed", "worker_lost", 3)


def test_a_cancel_whose_owner_died_is_confirmed_when_the_lease_ends(jobs, repair, new_job, clock) -> None:
    job, _ = jobs.create(new_job())
    token = claim(jobs, job).lease_token
    assert jobs.request_cancel(job.id).status == "running"
    assert jobs.renew(job.id, token, lease_seconds=LEASE).cancel_requested_at is not None
    clock.move(LEASE + 1)
    assert list(repair.expire_leases(max_attempts=1).cancelled) == [job.id]
    assert jobs.get(job.id).status == "cancelled"


def test_a_queued_job_is_cancelled_at_once(jobs, new_job) -> None:
    job, _ = jobs.create(new_job())
    assert jobs.request_cancel(job.id).status == "cancelled"
    assert jobs.claim(job.id, lease_seconds=LEASE) is None
    with pytest.raises(NotFound, match="cancelled"):
        jobs.report(job.id)


def test_every_change_raises_the_version(jobs, new_job) -> None:
    job, _ = jobs.create(new_job())
    seen = [jobs.get(job.id).version]
    token = claim(jobs, job).lease_token
    seen.append(jobs.get(job.id).version)
    jobs.progress(job.id, token, phase="a", current=1, total=2)
    seen.append(jobs.get(job.id).version)
    jobs.succeed(job.id, token, body="{}", etag="e", measurements=[])
    seen.append(jobs.get(job.id).version)
    assert seen == sorted(set(seen))
    assert jobs.versions([job.id, "job_nowhere"]) == {job.id: seen[-1]}


def test_the_same_key_and_request_give_the_same_job(jobs, new_job) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda _: jobs.create(new_job(idempotency_key="k", idempotency_fingerprint="f")), range(16))
        )
    assert len({job.id for job, _ in made}) == 1
    assert sum(created for _, created in made) == 1
    with pytest.raises(IdempotencyKeyReused, match="new key"):
        jobs.create(new_job(idempotency_key="k", idempotency_fingerprint="another"))


def test_pages_hold_every_job_once(jobs, new_job, clock) -> None:
    ids = []
    for number in range(25):
        ids.append(jobs.create(new_job(tags=["even"] if number % 2 == 0 else []))[0].id)
        if number % 3 == 0:
            clock.move(1)  # several jobs share a moment
    seen, after = [], None
    while page := jobs.list(Filter(after=after), limit=4):
        seen += [job.id for job in page]
        after = (page[-1].created_at, page[-1].id)
    assert sorted(seen) == sorted(ids)
    assert len(jobs.list(Filter(tag="even"), limit=100)) == 13
    assert jobs.list(Filter(status="running"), limit=100) == []


def test_an_unfinished_job_is_not_deleted(jobs, new_job) -> None:
    job, _ = jobs.create(new_job(tags=["t"]))
    with pytest.raises(Conflict, match="Cancel it first"):
        jobs.delete(job.id)
    token = claim(jobs, job).lease_token
    jobs.succeed(job.id, token, body="{}", etag="e", measurements=[MeasurementRow("a", 0, "m", 1.0)])
    jobs.delete(job.id)
    for look in (jobs.get, jobs.report):
        with pytest.raises(NotFound):
            look(job.id)


def test_a_message_is_suspected_lost_only_after_a_while(jobs, repair, new_job, clock) -> None:
    job, _ = jobs.create(new_job())
    assert list(repair.perhaps_unsent(older_than_seconds=5)) == []
    clock.move(6)
    assert list(repair.perhaps_unsent(older_than_seconds=5)) == [job.id]
    repair.mark_sent([job.id])
    assert list(repair.perhaps_unsent(older_than_seconds=5)) == []
    repair.mark_unsent([job.id])
    assert list(repair.perhaps_unsent(older_than_seconds=5)) == [job.id]
