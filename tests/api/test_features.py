"""Feature sets over HTTP."""

import base64
import hashlib
import io

import numpy as np
from feature_files import feature_arrays, split

VIEW = {
    "id",
    "status",
    "sha256",
    "size_bytes",
    "num_samples",
    "num_classes",
    "class_counts",
    "layers",
    "created_at",
    "expires_at",
}


def test_an_upload_is_described(client, file_of) -> None:
    body = file_of(feature_arrays(num_samples=40, num_classes=4, dims=(6, 5)))
    response = client.post("/v1/features", content=body)
    view = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/features/{view['id']}"
    assert set(view) == VIEW
    assert view["class_counts"] == {"0": 10, "1": 10, "2": 10, "3": 10}
    of_both = {"dtype": "float32", "ood_samples": 0, "second_moments": None}
    assert view["layers"] == [
        {"name": "layer0", "dim": 6, "weights_shape": None, **of_both},
        {"name": "layer1", "dim": 5, "weights_shape": [4, 5], **of_both},
    ]
    assert view["created_at"].endswith("Z")
    assert client.get(response.headers["location"]).json() == view


def test_the_same_bytes_again_give_the_same_id(client, file_of) -> None:
    body = file_of(feature_arrays())
    first, again = client.post("/v1/features", content=body), client.post("/v1/features", content=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


def test_layers_come_back_in_the_order_asked_for(client, file_of) -> None:
    response = client.post("/v1/features?layers=layer1,layer0", content=file_of(feature_arrays()))
    assert [layer["name"] for layer in response.json()["layers"]] == ["layer1", "layer0"]
    metadata = client.post("/v1/features", content=file_of(feature_arrays(), layers='["layer1", "layer0"]'))
    assert [layer["name"] for layer in metadata.json()["layers"]] == ["layer1", "layer0"]


def test_npz_keeps_the_order_of_the_archive(client) -> None:
    arrays = feature_arrays(dims=(6, 5))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        labels=arrays["labels"],
        **{"features.z": arrays["features.layer0"], "features.a": arrays["features.layer1"]},
    )
    response = client.post("/v1/features", content=buffer.getvalue())
    assert [layer["name"] for layer in response.json()["layers"]] == ["z", "a"]


def test_a_set_is_filled_part_by_part(client, file_of) -> None:
    opened = client.post("/v1/features?parts=open")
    assert opened.status_code == 201
    assert opened.json()["status"] == "open"
    base = opened.headers["location"]
    for index, part in enumerate(split(feature_arrays(num_samples=90), [10, 60])):
        for _ in range(2):
            assert client.put(f"{base}/parts/{index}", content=file_of(part)).status_code == 204
    other = client.put(f"{base}/parts/0", content=file_of(feature_arrays(seed=5)))
    assert (other.status_code, other.json()["code"]) == (409, "part_conflict")
    completed = client.post(f"{base}/complete")
    assert completed.status_code == 200
    assert (completed.json()["status"], completed.json()["num_samples"]) == ("ready", 90)
    assert client.post(f"{base}/complete").json() == completed.json()


def test_features_are_deleted_but_not_while_a_job_needs_them(client, file_of, run_jobs) -> None:
    features = client.post("/v1/features", content=file_of(feature_arrays())).json()["id"]
    client.post("/v1/jobs", json={"kind": "measure_collapse", "features": features})
    refused = client.delete(f"/v1/features/{features}")
    assert (refused.status_code, refused.json()["code"]) == (409, "features_in_use")
    run_jobs()
    assert client.delete(f"/v1/features/{features}").status_code == 204
    assert client.get(f"/v1/features/{features}").json()["code"] == "features_not_found"
    assert client.delete(f"/v1/features/{features}").status_code == 404


def test_a_part_that_was_changed_on_its_way_is_refused_and_may_come_again(client, file_of) -> None:
    body = file_of(feature_arrays())
    address = f"/v1/features/{client.post('/v1/features?parts=open').json()['id']}/parts/0"
    right = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {"Content-Digest": f"sha-512=:AAAA:, sha-256=:{right}:"}
    changed = body[:-1] + bytes([body[-1] ^ 1])
    refused = client.put(address, content=changed, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
    assert "send it again" in refused.json()["detail"]
    assert client.put(address, content=body, headers=headers).status_code == 204


def test_a_digest_that_is_none_is_told(client, file_of) -> None:
    for digest in ("sha-256=:AAAA:", "sha-256=:?:".replace("?", "A" * 43)):
        refused = client.post("/v1/features", content=file_of(feature_arrays()), headers={"Content-Digest": digest})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
        assert "RFC 9530" in refused.json()["detail"]
