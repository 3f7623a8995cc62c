"""Broker and database that hang, or forget: every answer comes in time, and nothing accepted is lost."""

import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from aftermath import UNFINISHED, each_job_ended_once, reports_are_right, watch_ends
from clients import Accepted, at_once
from parts import Parts, frozen, running_parts
from service_process import wait_for
from work import small

CLIENTS = 12
REQUESTS = 3
"""Of each client, one after the other, while a part is frozen."""
SECONDS = 5.0
SETTINGS = {
    "COLLAPSE_LEASE_SECONDS": "4",
    "COLLAPSE_SWEEP_SECONDS": "0.3",
    "COLLAPSE_RESEND_AFTER_SECONDS": "1",
    "COLLAPSE_LOG_FORMAT": "json",
}


@pytest.fixture
def post(lot) -> Callable[..., Counter[str]]:
    """Posts from many clients at once and remembers what was accepted; answers by status, and how slow the slowest."""

    def at_the_same_time(parts: Parts, accepted: Accepted, *, features: str, work) -> tuple[Counter[int], float]:
        def one(number: int) -> list[tuple[int, float]]:
            told = []
            with httpx.Client(base_url=parts.url, timeout=60) as client:
                for _ in range(REQUESTS):
                    started = time.monotonic()
                    answer = client.post("/v1/jobs", json={**work.parameters, "features": features})
                    told.append((answer.status_code, time.monotonic() - started))
                    if answer.status_code == 202:
                        accepted.jobs[answer.json()["id"]] = work
                    else:
                        assert answer.headers["retry-after"].isdecimal()
                        assert answer.json()["code"] in ("queue_unavailable", "database_unavailable")
            return told

        results = at_once(CLIENTS, one)
        assert not [error for error in results if isinstance(error, Exception)], results
        answers = [answer for told in results for answer in told]
        return Counter(status for status, _ in answers), max(seconds for _, seconds in answers)

    return at_the_same_time


@pytest.mark.parametrize("part", ["broker", "database"])
def test_a_frozen_part_is_told_within_five_seconds_and_nothing_is_lost(tmp_path, lot, post, figure, part) -> None:
    accepted, work = Accepted(), small(lot)
    with running_parts(tmp_path, workers=1, **SETTINGS) as parts:
        watch_ends(parts)
        features = httpx.post(f"{parts.url}/v1/features", content=work.files[0]).json()["id"]
        before, _ = post(parts, accepted, features=features, work=work)
        victims = [parts.broker.pid] if part == "broker" else parts.database.processes()
        with frozen(*victims):
            during, slowest = post(parts, accepted, features=features, work=work)
        figure("answers while frozen", dict(during))
        figure("slowest answer, s", slowest)
        assert set(before) == {202}
        assert set(during) == {503}
        assert slowest < SECONDS
        wait_for(lambda: httpx.get(f"{parts.url}/readyz", timeout=20).status_code == 200, "readiness", seconds=30)
        after, _ = post(parts, accepted, features=features, work=work)
        assert set(after) == {202}
        everything_ends(parts, accepted, tmp_path)


def test_a_wiped_broker_loses_no_job(tmp_path, lot, post, figure) -> None:
    accepted, work = Accepted(), small(lot)
    with running_parts(tmp_path, workers=1, **SETTINGS) as parts:
        watch_ends(parts)
        features = httpx.post(f"{parts.url}/v1/features", content=work.files[0]).json()["id"]
        for worker in parts.workers:
            worker.kill()
        post(parts, accepted, features=features, work=work)
        parts.wipe_broker()
        post(parts, accepted, features=features, work=work)
        parts.wipe_broker()
        for worker in parts.workers:
            worker.start()
        figure("jobs without a message", len(accepted.jobs))
        everything_ends(parts, accepted, tmp_path)


def everything_ends(parts: Parts, accepted: Accepted, folder) -> None:
    wait_for(lambda: parts.query(UNFINISHED)[0][0] == 0, "the end of every job", seconds=90)
    assert each_job_ended_once(parts) >= len(accepted.jobs)
    assert sum(reports_are_right(parts, accepted, folder / "expected").values()) == len(accepted.jobs)
