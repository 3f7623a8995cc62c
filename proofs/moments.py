"""Bringing the service to a chosen moment in the life of a job, at which it is then killed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import httpx
import psycopg
from parts import Part, Parts

STATES = ("placing", "waiting", "cancelling", "uploading", "claimed", "computing", "queued")
VICTIMS = ("child", "worker", "api", "broker", "database")
FIRST_CHOICE_SECONDS = {False: 1.0, True: 2.0}
"""True: with a lock held that stops what would get there."""
ANY_CHOICE_SECONDS = 3.0

OWNED = "status = 'running' AND lease_token IS NOT NULL"
JOBS_IN_STATE = {
    "queued": "SELECT id FROM jobs WHERE status = 'queued' AND pending_children = 0",
    "claimed": f"SELECT id FROM jobs WHERE {OWNED} AND phase = 'starting'",
    "computing": f"SELECT id FROM jobs WHERE {OWNED} AND phase <> 'starting'",
    # One of which no other's report tells: it will be cancelled.
    "cancelling": f"SELECT id FROM jobs WHERE {OWNED} AND parent_id IS NULL",
    "waiting": "SELECT id FROM jobs WHERE status = 'running' AND pending_children > 0",
    # Its artifacts lie in the store, and their rows wait for a lock that we hold. We cannot see whose they are.
    "placing": "SELECT pid::text FROM pg_locks WHERE relation = 'artifacts'::regclass AND NOT granted",
}
EVERY_STATE = " UNION ALL ".join(
    f"(SELECT '{state}', id FROM ({query} LIMIT 1) AS found (id))" for state, query in JOBS_IN_STATE.items()
).encode()


class Moment(NamedTuple):
    """A job, if it is known which, and its state; no state if nothing went on, or while the database recovers."""

    state: str | None
    job: str | None


@contextmanager
def at_one_of(states: Sequence[str], parts: Parts, *, cancelled: set[str]) -> Iterator[Moment]:
    """While the block runs a job is, or just was, in the first of these states; in another if it takes too long.

    What is cancelled for it is added to `cancelled`.
    """
    given = False
    try:
        with psycopg.connect(parts.database.dsn, connect_timeout=2, autocommit=True) as connection, ExitStack() as held:
            if states[0] == "placing":
                held.enter_context(connection.transaction())
                connection.execute("LOCK TABLE artifacts IN EXCLUSIVE MODE")
            moment = _wait(states, parts, connection)
            if moment.state == "cancelling" and moment.job:
                cancelled.add(moment.job)
                moment = moment if _cancel(parts, moment.job) else Moment(None, None)
            given = True
            yield moment
    except psycopg.OperationalError:  # the database itself may be the one that is killed, or that was just before
        if not given:
            yield Moment(None, None)


def owner_of(parts: Parts, job: str | None) -> Part | None:
    """The worker that has this job, by its log."""
    for worker in parts.workers:
        started = [line for line in worker.lines()[-20_000:].splitlines() if '"job started"' in line]
        if job and started and job in started[-1]:
            return worker
    return None


def _wait(states: Sequence[str], parts: Parts, connection: psycopg.Connection[tuple[str, str]]) -> Moment:
    started = time.monotonic()
    while (waited := time.monotonic() - started) < ANY_CHOICE_SECONDS:
        there = dict(connection.execute(EVERY_STATE).fetchall())
        if _something_is_staged(parts):
            there["uploading"] = ""
        eligible = states if waited > FIRST_CHOICE_SECONDS[states[0] == "placing"] else states[:1]
        for state in eligible:
            if state in there:
                return Moment(state, there[state])
        time.sleep(0.005)
    return Moment(None, None)


def _something_is_staged(parts: Parts) -> bool:
    try:
        newest = max((path.stat().st_mtime for path in (parts.data / "blobs" / "staging").iterdir()), default=0.0)
    except OSError:  # it was kept, or thrown away, while we were looking
        return False
    return time.time() - newest < 0.05


def _cancel(parts: Parts, job: str) -> bool:
    try:
        return httpx.post(f"{parts.url}/v1/jobs/{job}/cancel", timeout=5).status_code == 202
    except httpx.HTTPError:
        return False
