"""One owner at a time: many deliveries, an owner that sleeps through its lease, a job that kills its workers."""

import json
import time

import httpx
import pytest
from aftermath import each_job_ended_once, log_lines, watch_ends
from moments import owner_of
from parts import Parts, frozen, running_parts
from service_process import wait_for
from work import differences, expected_report, small, wide

DELIVERIES = 20
ATTEMPTS = 3
SETTINGS = {
    "COLLAPSE_LEASE_SECONDS": "2",
    "COLLAPSE_SWEEP_SECONDS": "0.3",
    "COLLAPSE_RESEND_AFTER_SECONDS": "1",
    "COLLAPSE_MAX_ATTEMPTS": str(ATTEMPTS),
    "COLLAPSE_LOG_FORMAT": "json",
}


@pytest.fixture
def submit():
    def make(parts: Parts, work) -> str:
        features = httpx.post(f"{parts.url}/v1/features", content=work.files[0]).json()["id"]
        answer = httpx.post(f"{parts.url}/v1/jobs", json={**work.parameters, "features": features})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    return make


def view(parts: Parts, job: str) -> dict:
    return httpx.get(f"{parts.url}/v1/jobs/{job}", timeout=20).json()


def end_of(parts: Parts, job: str, seconds: float = 60) -> dict:
    def ended():
        found = view(parts, job)
        return found if found["status"] in ("succeeded", "failed", "cancelled") else None

    return wait_for(ended, f"the end of {job}", seconds=seconds)


def under_way(parts: Parts, job: str, *, attempts: int = 1) -> None:
    def computing() -> bool:
        found = view(parts, job)
        return found["status"] == "running" and found["attempts"] >= attempts and found["progress"]["current"] > 0

    wait_for(computing, "progress", seconds=60)


def computing_child(parts: Parts, job: str) -> int:
    """The process that computes it."""
    owner = owner_of(parts, job)
    assert owner is not None
    child = owner.computing_child()
    assert child is not None
    return child


def test_the_same_message_twenty_times_to_four_workers_is_one_result(tmp_path, lot, submit, figure) -> None:
    with running_parts(tmp_path, workers=4, **SETTINGS) as parts:
        watch_ends(parts)
        for make in (small, wide):
            job = submit(parts, make(lot))
            parts.send(job, DELIVERIES)
            done = end_of(parts, job)
            assert (done["status"], done["attempts"]) == ("succeeded", 1)
        wait_for(
            lambda: len(log_lines(parts, "job not there to take")) >= 2 * (DELIVERIES - 1), "all deliveries", seconds=60
        )
        figure("deliveries that found nothing to take", len(log_lines(parts, "job not there to take")))
        assert len(log_lines(parts, "job started")) == 2
        assert each_job_ended_once(parts) == 2


def test_an_owner_that_wakes_after_its_lease_writes_nothing(tmp_path, lot, submit, figure) -> None:
    with running_parts(tmp_path, workers=2, **SETTINGS) as parts:
        watch_ends(parts)
        work = wide(lot)
        job = submit(parts, work)
        under_way(parts, job)
        with frozen(computing_child(parts, job)):
            # Somebody else takes it; the sleeper wakes while they compute, and once more when all is over.
            wait_for(lambda: view(parts, job)["attempts"] == 2, "another owner", seconds=30)
        done = end_of(parts, job)
        assert (done["status"], done["attempts"]) == ("succeeded", 2)
        answer = httpx.get(f"{parts.url}/v1/jobs/{job}/report")
        assert not differences(answer.json(), expected_report(work, tmp_path / "expected"))
        wait_for(lambda: reasons(parts), "the word of the one that slept", seconds=30)
        assert set(reasons(parts)) == {"lease_lost"}
        assert len(log_lines(parts, "job succeeded")) == 1
        assert httpx.get(f"{parts.url}/v1/jobs/{job}/report").headers["etag"] == answer.headers["etag"]
        assert each_job_ended_once(parts) == 1
        figure("what became of the old owner", reasons(parts))


def reasons(parts: Parts) -> list[str]:
    stopped = [*log_lines(parts, "job stopped"), *log_lines(parts, "the computation does not stop; ending its process")]
    return [line["reason"] for line in stopped]


def test_an_owner_that_wakes_when_all_is_over_writes_nothing(tmp_path, lot, submit) -> None:
    with running_parts(tmp_path, workers=2, **SETTINGS) as parts:
        watch_ends(parts)
        job = submit(parts, wide(lot))
        under_way(parts, job)
        with frozen(computing_child(parts, job)):
            done = end_of(parts, job)
            before = json.dumps(done), httpx.get(f"{parts.url}/v1/jobs/{job}/report").headers["etag"]
        wait_for(lambda: reasons(parts), "the word of the one that slept", seconds=30)
        after = json.dumps(view(parts, job)), httpx.get(f"{parts.url}/v1/jobs/{job}/report").headers["etag"]
        assert after == before
        assert each_job_ended_once(parts) == 1


def test_a_job_that_kills_its_worker_each_time_fails_after_its_attempts(tmp_path, lot, submit, figure) -> None:
    with running_parts(tmp_path, workers=1, **SETTINGS) as parts:
        watch_ends(parts)
        job, harmless = submit(parts, wide(lot)), submit(parts, small(lot))
        deaths = 0
        started = time.monotonic()
        while (now := view(parts, job))["status"] in ("queued", "running"):
            if now["status"] == "running" and now["attempts"] > deaths:
                deaths += parts.workers[0].kill_child()
            assert time.monotonic() - started < 120
            time.sleep(0.05)
        assert (now["status"], now["error"]["code"], now["attempts"]) == ("failed", "worker_lost", ATTEMPTS)
        assert deaths == ATTEMPTS
        assert end_of(parts, harmless)["status"] == "succeeded"
        assert each_job_ended_once(parts) == 2
        figure("deaths", deaths)
