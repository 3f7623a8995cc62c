"""Who changed what: made and refused alike; seen by whoever runs the service, and kept for so long."""

from feature_files import feature_arrays

from jobs.keys import Limits
from jobs.store import AuditFilter

JOB = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 10}


def entries(client, headers: dict[str, str], **query: object) -> list[dict]:
    return client.get("/v1/audit", params=query, headers=headers).raise_for_status().json()["items"]


def test_every_change_is_in_the_log_made_or_refused(client, make_key, file_of) -> None:
    row, mine = make_key(owner="lab", limits=Limits(max_queued_jobs=1))
    reader, reading = make_key(owner="lab", scopes=["read"])
    _, admin = make_key(owner="operators", scopes=["admin"])
    features = client.post("/v1/features", content=file_of(feature_arrays()), headers=mine).json()["id"]
    job = client.post("/v1/jobs", json=JOB, headers={**mine, "X-Request-ID": "mine-1"}).json()["id"]
    client.post("/v1/jobs", json=JOB, headers=mine)  # over the quota
    client.post(f"/v1/jobs/{job}/cancel", headers=mine)
    client.post(f"/v1/jobs/{job}/cancel", headers=mine)  # it has ended
    client.delete(f"/v1/jobs/{job}", headers=reading)  # may only read
    client.delete(f"/v1/jobs/{job}", headers=mine)
    client.delete("/v1/features/features_of_somebody", headers=mine)
    client.delete(f"/v1/features/{features}", headers={"Authorization": "Bearer nonsense"})  # nobody
    client.get(f"/v1/features/{features}", headers=mine)  # no change
    found = entries(client, admin)
    told = [(entry["action"], entry["object_id"], entry["status"], entry["key_id"]) for entry in reversed(found)]
    assert told[3:] == [
        ("upload_features", features, 201, row.id),
        ("submit_job", job, 202, row.id),
        ("submit_job", None, 429, row.id),
        ("cancel_job", job, 202, row.id),
        ("cancel_job", job, 409, row.id),
        ("delete_job", job, 403, reader.id),
        ("delete_job", job, 204, row.id),
        ("delete_features", "features_of_somebody", 404, row.id),
    ]
    assert {entry["owner"] for entry in found[:8]} == {"lab"}
    assert found[6]["request_id"] == "mine-1"
    assert [action for action, *_ in told[:3]] == ["create_key"] * 3
    assert entries(client, admin, object=job, limit=1) == [entry for entry in found if entry["object_id"] == job][:1]
    assert entries(client, admin, since=found[2]["at"]) == found[:3]


def test_pages_of_the_log(client) -> None:
    for number in range(7):
        client.services.audit.add(owner="", action=f"change {number}")
    actions, cursor = [], None
    while True:
        page = client.get("/v1/audit", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        actions += [entry["action"] for entry in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert actions == [f"change {number}" for number in reversed(range(7))]
    for since in ("yesterday", "2026-11-01T00:00:00", "0001-01-01T00:00:00+23:00"):
        assert client.get("/v1/audit", params={"since": since}).status_code == 422


def test_a_change_is_answered_though_the_log_cannot_be_written(client) -> None:
    with client.services.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    response = client.post("/v1/jobs", json=JOB)
    with client.services.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit")
    assert response.status_code == 202
    assert client.get(f"/v1/jobs/{response.json()['id']}").status_code == 200


def test_the_log_is_kept_for_so_long(client) -> None:
    audit = client.services.audit
    audit.add(owner="", action="old")
    assert audit.delete_older(than_seconds=60) == 0
    assert audit.delete_older(than_seconds=-1) == 1
    assert list(audit.list(AuditFilter(), limit=10)) == []
