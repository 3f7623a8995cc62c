"""How long feature sets and jobs are kept, as requests ask; what housekeeping deletes is tested with the worker."""

from datetime import datetime, timedelta

import pytest
from feature_files import feature_arrays, split

from jobs.tables import Job

DAY = 86400


def lifetime(view: dict[str, str]) -> float:
    created, expires = (datetime.fromisoformat(view[name]) for name in ("created_at", "expires_at"))
    return (expires - created).total_seconds()


def test_a_feature_set_lives_as_long_as_its_upload_says(client, file_of) -> None:
    body = file_of(feature_arrays())
    first = client.post("/v1/features?expires_in_seconds=3600", content=body).json()
    assert lifetime(first) == 3600
    longer = client.post("/v1/features", content=body).json()
    assert longer["id"] == first["id"]
    assert lifetime(longer) == pytest.approx(30 * DAY, abs=60)  # as the service is set
    again = client.post("/v1/features?expires_in_seconds=60", content=body).json()
    assert again["expires_at"] == longer["expires_at"]  # it is prolonged, never shortened


def test_a_set_in_parts_has_one_life_while_it_is_open_and_one_from_then_on(client, file_of) -> None:
    row = client.post("/v1/features?parts=open&expires_in_seconds=600").json()
    assert lifetime(row) == 600
    for index, part in enumerate(split(feature_arrays(), [50])):
        assert client.put(f"/v1/features/{row['id']}/parts/{index}", content=file_of(part)).status_code == 204
    ready = client.post(f"/v1/features/{row['id']}/complete?expires_in_seconds=7200").json()
    assert lifetime(ready) == pytest.approx(7200, abs=60)


def test_a_job_lives_as_long_as_its_request_or_the_service_says(make_client, file_of) -> None:
    client = make_client(job_retention_seconds=DAY)
    body = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 1}
    assert lifetime(client.post("/v1/jobs", json=body).json()) == DAY
    asked = client.post("/v1/jobs", json={**body, "expires_in_seconds": 60}, headers={"Idempotency-Key": "k"})
    assert lifetime(asked.json()) == 60
    job = client.post("/v1/analyses?expires_in_seconds=120", content=file_of(feature_arrays())).json()
    assert lifetime(job) == 120
    assert "expires_in_seconds" not in job["parameters"]
    other = client.post("/v1/jobs", json={**body, "expires_in_seconds": 61}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    for_ever = make_client().post("/v1/jobs", json=body).json()
    assert for_ever["expires_at"] is None


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_lifetime_has_bounds(client, file_of) -> None:
    body = file_of(feature_arrays())
    for value in ("0", "-1", "nan", "1.5", "a", "9" * 12):
        for path in ("/v1/features?", "/v1/features?parts=open&", "/v1/analyses?"):
            answer = client.post(f"{path}expires_in_seconds={value}", content=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), (value, answer.json())
            assert "expires_in_seconds" in answer.json()["errors"][0]["pointer"]
        job = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 1, "expires_in_seconds": value}
        assert client.post("/v1/jobs", json=job).status_code == 422


def test_what_has_expired_is_found_once_it_has_ended(client) -> None:
    command = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 1}
    jobs = client.services.jobs
    ids = [client.post("/v1/jobs", json={**command, "expires_in_seconds": 60}).json()["id"] for _ in range(3)]
    sweep = {"kind": "sweep_dufm", "base": command, "grid": {"learning_rate": [0.1, 0.2]}, "expires_in_seconds": 60}
    parent = client.post("/v1/jobs", json=sweep).json()["id"]
    with client.services.database.write() as session:
        for job_id in (*ids[:2], parent):
            session.get(Job, job_id).expires_at -= timedelta(seconds=61)
    assert jobs.expired() == []  # none has ended
    client.post(f"/v1/jobs/{ids[0]}/cancel")
    client.post(f"/v1/jobs/{ids[2]}/cancel")
    assert jobs.expired() == [ids[0]]
    client.post(f"/v1/jobs/{parent}/cancel")
    assert set(jobs.expired()) == {ids[0], parent}
    children = [child.id for child in jobs.children(parent)]
    assert client.services.artifacts.delete_expired_jobs() == 2
    assert {client.get(f"/v1/jobs/{job_id}").status_code for job_id in (ids[0], parent, *children)} == {404}
    assert {client.get(f"/v1/jobs/{job_id}").status_code for job_id in ids[1:]} == {200}
