"""Keys: who gets in, with which scopes, and until when."""

import secrets
from datetime import timedelta

import pytest
from fastapi import Request
from service_process import wait_for

from api.access import Caller, authenticated
from jobs.keys import Limits

JOB = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 10}


def refusal(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_without_any_key_this_machine_may_do_everything(client) -> None:
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    assert client.get("/v1/audit").status_code == 200


def test_from_the_first_key_on_nobody_gets_in_without_one(client, make_key) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    row, headers = make_key(owner="somebody")
    for refused in (client.get("/v1/jobs"), client.get("/v1/jobs", headers={"Authorization": "Bearer nonsense"})):
        assert refusal(refused) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
    assert client.get("/v1/jobs", headers=headers).json()["items"] == []
    assert refusal(client.get(f"/v1/jobs/{job}", headers=headers)) == (404, "job_not_found")
    client.services.keys.revoke(row.id)
    assert client.get("/v1/jobs").status_code == 401  # nor does the service open when the last key goes


def test_other_machines_need_a_key_in_any_case(client) -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.7", 1), "state": {}}
    with pytest.raises(Exception, match="Send a key"):
        authenticated(Request(scope), client.services, None)
    here = {**scope, "client": ("127.0.0.1", 1)}
    assert isinstance(authenticated(Request(here), client.services, None), Caller)


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_key_ends_at_once(client, make_key, end) -> None:
    row, headers = make_key(lifetime=timedelta(seconds=1.0 if end == "expired" else 1000))
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    if end == "revoked":
        client.services.keys.revoke(row.prefix)
    else:
        wait_for(lambda: client.services.database.now() > row.expires_at, "the end of the key")
    assert refusal(client.get("/v1/jobs", headers=headers)) == (401, "unauthorized")


def test_events_end_with_the_key(client, make_key) -> None:
    row, headers = make_key()
    job = client.post("/v1/jobs", json=JOB, headers=headers).json()["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("event: state")
        client.services.keys.revoke(row.id)
        client.services.jobs.claim(job, lease_seconds=10)  # something to tell
        rest = list(lines)
    assert not any(line.startswith("event") for line in rest)


def test_scopes(client, make_key) -> None:
    for scopes, allowed, statuses in (
        (["read"], "read", (200, 403, 403)),
        (["write"], "read, write", (200, 202, 403)),
        (["admin"], "admin", (403, 403, 200)),
        (["read", "write", "admin"], "admin, read, write", (200, 202, 200)),
    ):
        _, headers = make_key(scopes=scopes)
        answers = {
            "read": client.get("/v1/jobs", headers=headers),
            "write": client.post("/v1/jobs", json=JOB, headers=headers),
            "admin": client.get("/v1/audit", headers=headers),
        }
        assert tuple(answer.status_code for answer in answers.values()) == statuses
        for lacking, answer in answers.items():
            if answer.status_code == 403:
                assert answer.json()["code"] == "forbidden"
                assert f"scope '{lacking}'; yours has {allowed}." in answer.json()["detail"]


def test_the_operators_key_is_not_an_owners(make_client, make_key) -> None:
    operator = secrets.token_hex(16)
    client = make_client(api_key=operator)
    headers = {"Authorization": f"Bearer {operator}"}
    _, others = make_key(client=client)
    job = client.post("/v1/jobs", json=JOB, headers=headers).json()["id"]
    theirs = client.post("/v1/jobs", json=JOB, headers=others).json()["id"]
    assert client.get("/v1/audit", headers=headers).status_code == 200
    assert [item["id"] for item in client.get("/v1/jobs", headers=headers).json()["items"]] == [job]
    assert [item["id"] for item in client.get("/v1/jobs", headers=others).json()["items"]] == [theirs]
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {operator}x"}).status_code == 401
    assert client.get("/v1/jobs").status_code == 401


def test_keys_of_one_owner_open_the_same_things(client, make_key) -> None:
    (_, first), (_, second) = make_key(owner="lab"), make_key(owner="lab", scopes=["read"])
    job = client.post("/v1/jobs", json=JOB, headers=first).json()["id"]
    assert client.get(f"/v1/jobs/{job}", headers=second).json()["id"] == job


def test_nothing_of_a_key_is_kept_but_its_digest(client) -> None:
    row, key = client.services.keys.create(owner="a", scopes=["read"], limits=Limits(), note="n")
    assert key.startswith(row.prefix)
    assert len(key) == len("collapse_") + 43
    assert all(key not in str(value) for value in vars(row).values())


def test_the_document_says_how_to_send_a_key(client) -> None:
    document = client.get("/openapi.json").json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["paths"]["/v1/jobs"]["get"]["security"]
