"""Parents and children, artifacts: over HTTP, run in this process by the worker's own function."""

import hashlib

import jsonschema
import pytest

from jobs.errors import Unavailable

BASE = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "width": 3, "steps": 40, "record_every": 10}
GRID = {"width": [2, 3], "weight_decay": [0.01, [0.01, 0.02]]}


@pytest.fixture
def submit(client):
    def post(headers=None, **changes):
        body = {"kind": "sweep_dufm", "base": BASE, "grid": GRID, **changes}
        return client.post("/v1/jobs", json=body, headers=headers)

    return post


@pytest.fixture
def swept(submit, run_jobs) -> str:
    """The address of a sweep of four jobs that has ended."""
    location = submit(run="r", tags=["t"]).headers["location"]
    run_jobs()  # the children
    run_jobs()  # the parent
    return location


def children_of(client, location: str) -> list[dict]:
    return client.get(client.get(location).json()["children"]["link"]).json()["items"]


def test_a_sweep_goes_from_its_children_to_its_report(client, submit, run_jobs) -> None:
    accepted = submit(run="r", step=7, tags=["t"], repeats=2)
    assert accepted.status_code == 202
    location, job_id = accepted.headers["location"], accepted.json()["id"]
    waiting = {"total": 8, "ended": 0, "queued": 8, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert accepted.json()["children"] == {**waiting, "link": f"/v1/jobs?parent={job_id}"}
    assert accepted.json()["progress"]["total"] == 8
    children = children_of(client, location)
    assert {(child["parent"], child["kind"], child["run"], child["step"], *child["tags"]) for child in children} == {
        (job_id, "train_dufm", "r", None, "t")
    }
    assert not any("children" in child for child in children)
    assert sorted(child["parameters"]["seed"] for child in children) == [0, 0, 0, 0, 1, 1, 1, 1]
    run_jobs()
    between = client.get(location).json()
    assert (between["status"], between["progress"]["current"], between["children"]["succeeded"]) == ("queued", 8, 8)
    assert client.get(f"{location}/report").json()["code"] == "job_not_finished"
    run_jobs()
    ended = client.get(location).json()
    assert (ended["status"], ended["attempts"], ended["parent"]) == ("succeeded", 1, None)
    report = client.get(f"{location}/report").json()
    jsonschema.validate(report, client.get("/v1/schemas/report.json").json())
    assert [cell["values"] for cell in report["sweep"]["cells"]] == [
        {"width": width, "weight_decay": decay} for width in GRID["width"] for decay in GRID["weight_decay"]
    ]
    assert {job for cell in report["sweep"]["cells"] for job in cell["jobs"]} == {child["id"] for child in children}
    first = report["sweep"]["cells"][0]
    theirs = [client.get(f"/v1/jobs/{job}/report").json()["training"]["runs"][0]["loss"] for job in first["jobs"]]
    assert first["losses"] == theirs
    assert (report["step"], report["layers"], report["sweep"]["failures"]) == (7, [], [])


def test_a_child_that_was_cancelled_by_hand_is_told_in_the_report(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    cancelled = children_of(client, location)[0]["id"]
    assert client.post(f"/v1/jobs/{cancelled}/cancel").json()["status"] == "cancelled"
    run_jobs()
    run_jobs()
    assert client.get(location).json()["children"]["cancelled"] == 1
    report = client.get(f"{location}/report").json()
    assert [(failure["job_id"], failure["status"]) for failure in report["sweep"]["failures"]] == [
        (cancelled, "cancelled")
    ]
    assert sum(cell["succeeded"] for cell in report["sweep"]["cells"]) == 3


def test_a_cancel_of_a_sweep_ends_all_that_waits(client, submit) -> None:
    location = submit().headers["location"]
    cancelled = client.post(f"{location}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert cancelled.json()["children"]["cancelled"] == 4
    assert client.get(f"{location}/report").json()["code"] == "report_not_found"
    assert client.get(f"{location}/artifacts").json() == []


def test_children_stay_until_their_parent_has_ended_and_go_with_it(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    child = children_of(client, location)[0]["links"]["self"]
    run_jobs()
    refused = client.delete(child)
    assert (refused.status_code, refused.json()["code"]) == (409, "parent_not_finished")
    assert client.delete(location).json()["code"] == "job_not_finished"
    run_jobs()
    assert client.delete(child).status_code == 204
    assert client.get(location).json()["children"]["total"] == 3
    assert client.delete(location).status_code == 204
    assert client.get("/v1/jobs").json()["items"] == []
    assert client.services.feature_sets.files.untouched(for_seconds=-1) == []


def test_the_same_key_gives_one_sweep(client, submit) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = submit(headers), submit(headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert submit(headers, repeats=2).json()["code"] == "idempotency_key_reused"
    assert len(client.get("/v1/jobs").json()["items"]) == 5
    assert len(client.services.queue.waiting()) == 4


def test_the_view_of_a_parent_changes_with_its_children(client, submit) -> None:
    location = submit().headers["location"]
    etag = client.get(location).headers["etag"]
    unchanged = {"If-None-Match": etag}
    assert client.get(location, headers=unchanged).status_code == 304
    child = children_of(client, location)[0]["id"]
    token = client.services.jobs.claim(child, lease_seconds=60).lease_token
    changed = client.get(location, headers=unchanged)
    assert (changed.status_code, changed.json()["status"], changed.json()["children"]["running"]) == (200, "running", 1)
    assert client.services.jobs.release(child, token)
    again = client.get(location, headers={"If-None-Match": changed.headers["etag"]})
    assert (again.status_code, again.json()["children"]["running"]) == (200, 0)


def test_artifacts_are_listed_and_fetched(client, swept) -> None:
    (listed,) = client.get(f"{swept}/artifacts").json()
    assert (listed["name"], listed["media_type"]) == ("sweep.csv", "text/csv; charset=utf-8")
    assert client.get(f"{swept}/report").json()["artifacts"] == ["sweep.csv"]
    fetched = client.get(listed["link"])
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, listed["media_type"])
    assert fetched.headers["content-disposition"] == 'attachment; filename="sweep.csv"'
    assert len(fetched.content) == listed["size_bytes"] == int(fetched.headers["content-length"])
    assert hashlib.sha256(fetched.content).hexdigest() == listed["sha256"]
    assert fetched.text.startswith("width,weight_decay,seed,loss,")
    assert len(fetched.text.splitlines()) == 5
    unchanged = client.get(listed["link"], headers={"If-None-Match": fetched.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    part = client.get(listed["link"], headers={"Range": "bytes=6-10"})
    assert (part.status_code, part.content) == (206, fetched.content[6:11])


def test_what_is_not_there_names_what_is(client, swept) -> None:
    missing = client.get(f"{swept}/artifacts/sweep.tsv")
    assert (missing.status_code, missing.json()["code"]) == (404, "artifact_not_found")
    assert "it has sweep.csv" in missing.json()["detail"]
    for name in ("%00", "..%2Fsweep.csv", "a%22b"):
        assert client.get(f"{swept}/artifacts/{name}").status_code == 404


def test_there_are_no_artifacts_before_the_end(client, submit) -> None:
    location = submit().headers["location"]
    for path in ("artifacts", "artifacts/sweep.csv"):
        early = client.get(f"{location}/{path}")
        assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")


def test_a_broker_that_is_lost_between_two_messages_costs_no_child(client, submit, monkeypatch) -> None:
    enqueue, left = client.services.queue.enqueue, iter(range(2))

    def lost_after_two(job_id: str, queue: str) -> None:
        if next(left, None) is None:
            raise Unavailable("queue_unavailable", "away")
        enqueue(job_id, queue)

    monkeypatch.setattr(client.services.queue, "enqueue", lost_after_two)
    job_id = submit().json()["id"]
    unsent = set(client.services.repair.perhaps_unsent(older_than_seconds=3600))
    assert len(unsent) == 2
    assert unsent | client.services.queue.waiting() == {job.id for job in client.services.jobs.children(job_id)}
