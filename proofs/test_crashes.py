"""Kill -9 of every part at every state of a job, hundreds of times, under load."""

import time
from collections import Counter

import pytest
from aftermath import (
    UNFINISHED,
    each_job_ended_once,
    log_lines,
    reports_are_right,
    rows_and_blobs_agree,
    uploads_are_there,
    watch_ends,
)
from clients import Clients
from moments import STATES, VICTIMS, at_one_of, owner_of
from parts import Parts, pause, running_parts
from service_process import wait_for

KILLS = 210
LEAST_KILLS_PER_STATE = 6
LONGEST_PAUSE_SECONDS = 0.4
SETTINGS = {
    "COLLAPSE_LEASE_SECONDS": "2",
    "COLLAPSE_SWEEP_SECONDS": "0.3",
    "COLLAPSE_RESEND_AFTER_SECONDS": "1",
    "COLLAPSE_CANCEL_GRACE_SECONDS": "1",
    "COLLAPSE_SPREAD_BYTES": "1",
    "COLLAPSE_MAX_ATTEMPTS": "1000",  # nobody's job is at fault here
    "COLLAPSE_LOG_FORMAT": "json",
}


@pytest.mark.timeout(1200)
def test_kills_at_every_state_lose_nothing_and_double_nothing(tmp_path, lot, figure) -> None:
    kills: Counter[tuple[str | None, str]] = Counter()
    with running_parts(tmp_path, workers=3, **SETTINGS) as parts:
        watch_ends(parts)
        clients = Clients(parts.url, lot, number=4)
        clients.start()
        started = time.monotonic()
        for number in range(KILLS):
            victim = VICTIMS[number % len(VICTIMS)]
            with at_one_of(seldom_first(kills, lot), parts, cancelled=clients.accepted.cancelled) as (state, job):
                kill(parts, victim, job, lot)
            kills[state, victim] += 1
            pause(lot.uniform(0, LONGEST_PAUSE_SECONDS))
        figure("seconds of killing", time.monotonic() - started)
        parts.database.wait_until_ready()
        pause(2)
        clients.stop()
        parts.wait_until_ready()
        wait_for(lambda: parts.query(UNFINISHED)[0][0] == 0, "the end of every job", seconds=180)
        accepted = clients.accepted
        at_states = Counter({state: sum(kills[state, victim] for victim in VICTIMS) for state in (*STATES, None)})
        figure("kills", Counter({victim: sum(kills[state, victim] for state in (*STATES, None)) for victim in VICTIMS}))
        figure("kills at each state", at_states)
        figure("answers", accepted.answers)
        assert accepted.violations == []
        top_level = parts.query("SELECT count(*) FROM jobs WHERE parent_id IS NULL")[0][0]
        assert len(accepted.jobs) == accepted.submissions  # no two answers for one job
        figure("jobs, children included", each_job_ended_once(parts))
        figure("accepted jobs with the right report", dict(reports_are_right(parts, accepted, tmp_path / "expected")))
        figure("jobs accepted of those made", f"{len(accepted.jobs)} of {top_level}")
        figure("accepted files found", uploads_are_there(parts, accepted))
        figure("blobs, each with its row", rows_and_blobs_agree(parts))
        succeeded = Counter(line["job_id"] for line in log_lines(parts, "job succeeded"))
        assert max(succeeded.values()) == 1
    assert kills.total() >= 200
    assert min(at_states[state] for state in STATES) >= LEAST_KILLS_PER_STATE


def seldom_first(kills: Counter[tuple[str | None, str]], lot) -> list[str]:
    """The states, those first at which there were fewest kills; equal ones by lot."""
    return sorted(STATES, key=lambda state: (sum(kills[state, victim] for victim in VICTIMS), lot.random()))


def kill(parts: Parts, victim: str, job: str | None, lot) -> None:
    """Kill one part, and start it again as whoever looks after it would."""
    worker = owner_of(parts, job) or lot.choice(parts.workers)
    if victim == "child":
        worker.kill_child()
    else:
        part = {"worker": worker, "api": parts.api, "broker": parts.broker, "database": parts.database}[victim]
        part.kill()
        part.start()
