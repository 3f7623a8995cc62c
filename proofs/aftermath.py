"""What must be true when everything has calmed down."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from clients import Accepted
from parts import Parts
from work import differences, expected_report

from api.app import create_services
from jobs.settings import Settings

ENDS = """
CREATE TABLE ends (job_id text, status text);
CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND (
        NEW.status IN ('succeeded', 'failed', 'cancelled') OR OLD.status IN ('succeeded', 'failed', 'cancelled')
    ) THEN
        INSERT INTO ends VALUES (NEW.id, NEW.status);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note_end AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION note_end();
"""
"""Every end of a job is noted by the database itself, in the transaction that writes it; so is a job that goes on."""

UNFINISHED = "SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"


def watch_ends(parts: Parts) -> None:
    """Let the database note every end from now on."""
    parts.query(ENDS)


def each_job_ended_once(parts: Parts) -> int:
    """Every job of the table has exactly one end, noted in the transaction that wrote it; how many there are."""
    statuses = dict(parts.query("SELECT id, status FROM jobs"))
    assert set(statuses.values()) <= {"succeeded", "failed", "cancelled"}, Counter(statuses.values())
    ends = parts.query("SELECT job_id, status FROM ends")
    assert Counter(job for job, _ in ends) == dict.fromkeys(statuses, 1)
    assert dict(ends) == statuses
    reports = {job for (job,) in parts.query("SELECT job_id FROM reports")}
    assert reports == {job for job, status in statuses.items() if status == "succeeded"}
    return len(statuses)


def reports_are_right(parts: Parts, accepted: Accepted, folder: Path) -> Counter[str]:
    """Every accepted job has the report that is computed here, or was cancelled by its client."""
    outcomes: Counter[str] = Counter()
    known: dict[str, Any] = {}
    with httpx.Client(base_url=parts.url, timeout=30) as client:
        for number, (job, work) in enumerate(accepted.jobs.items()):
            view = client.get(f"/v1/jobs/{job}").json()
            outcomes[f"{view['kind']} {view['status']}"] += 1
            if view["status"] == "cancelled":
                assert job in accepted.cancelled, view
                continue
            assert view["status"] == "succeeded", view
            same = hashlib.sha256(repr(work).encode()).hexdigest()
            if same not in known:
                known[same] = expected_report(work, folder / str(number))
            found = client.get(f"/v1/jobs/{job}/report").json()
            assert found["job_id"] == job
            assert not (told := differences(found, known[same])), (job, view["kind"], told[:5])
    return outcomes


def uploads_are_there(parts: Parts, accepted: Accepted) -> int:
    """Every file that was accepted and not deleted lies in the store, whole; how many."""
    found = 0
    with httpx.Client(base_url=parts.url, timeout=30) as client:
        for features, digests in accepted.features.items():
            if features in accepted.deleted:
                continue
            assert client.get(f"/v1/features/{features}").status_code == 200, features
            rows = parts.query("SELECT sha256 FROM features_parts WHERE features_id = %s", features)
            assert {sha256 for (sha256,) in rows} == set(digests)
            found += len(digests)
    return found


def rows_and_blobs_agree(parts: Parts) -> int:
    """After a garbage collection: no blob without a row, no row without its blob, every blob whole; how many."""
    collect_all_garbage(parts)
    rows = parts.query("SELECT sha256 FROM features_parts UNION SELECT sha256 FROM artifacts")
    needed = {sha256 for (sha256,) in rows}
    blobs = {path.name: path for path in (parts.data / "blobs").glob("[0-9a-f][0-9a-f]/*")}
    assert set(blobs) == needed
    for sha256, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert list((parts.data / "blobs" / "staging").iterdir()) == []
    return len(blobs)


def collect_all_garbage(parts: Parts) -> None:
    """As if days had passed: what dead processes had claimed or staged is nobody's."""
    parts.query("UPDATE blobs SET claimed_until = now() - interval '1 day'")
    for folder in (parts.data / "blobs").iterdir():
        for path in folder.iterdir() if folder.is_dir() else ():
            os.utime(path, (0, 0))
    services = create_services(
        Settings(data_dir=parts.data, database_url=parts.database.url, broker_url=parts.broker_url)
    )
    services.artifacts.blobs.collect_garbage(grace_seconds=0)
    services.queue.close()
    services.database.close()


def log_lines(parts: Parts, event: str) -> list[dict[str, Any]]:
    """What workers and the API have logged under one event."""
    lines = [line for part in (parts.api, *parts.workers) for line in part.lines().splitlines()]
    found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}") and event in line]
    return [line for line in found if line.get("event") == event]
