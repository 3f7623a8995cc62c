"""What bad input gets: a problem that says what to do; nothing is kept; the service goes on."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from feature_files import Arrays, feature_arrays

from jobs.files import FolderStore

MIB = 2**20


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def safetensors(header: dict | str, payload: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + payload


def changed(**changes: object) -> bytes:
    arrays: Arrays = {"labels": np.arange(20) % 4, "features.a": np.ones((20, 3), np.float32), **changes}
    return npz(**{name: array for name, array in arrays.items() if array is not None})


def with_value(value: float, row: int) -> np.ndarray:
    features = np.ones((20, 3), np.float32)
    features[row, 1] = value
    return features


def archive_with_pickle() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"labels": [0, 1]}))
    return buffer.getvalue()


LABELS = {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}
ENTRY = json.dumps(LABELS)
DUPLICATE = f'{{"labels": {ENTRY}, "labels": {ENTRY}}}'
LIES = {"labels": LABELS, "features.a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [16, 48]}}
HUGE = {"labels": LABELS, "features.a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [16, 16]}}
BOMB = {"labels": np.arange(8) % 2, "features.a": np.zeros((8, 2 * MIB), np.float32)}

CASES = {
    "wrong magic": (b"GIF89a" + bytes(100), 415, "unsupported_format", "safetensors"),
    "empty": (b"", 415, "unsupported_format", "empty"),
    "json": (b'{"labels": [0, 1], "features": {"a": [[1], [2]]}}', 415, "unsupported_format", "safetensors"),
    "pickle": (pickle.dumps({"labels": [0, 1]}), 422, "unsafe_file", "pickle"),
    "torch.save": (archive_with_pickle(), 422, "unsafe_file", "pickle"),
    "object array": (npz(labels=np.array([0, 1, None], object)), 422, "unsafe_file", "labels"),
    "truncated safetensors": (safetensors(LIES, bytes(30)), 422, "unsafe_file", ""),
    "truncated npz": (changed()[:-200], 422, "unsafe_file", ""),
    "duplicate names": (safetensors(DUPLICATE, bytes(16)), 422, "unsafe_file", "labels"),
    "huge shape": (safetensors(HUGE, bytes(16)), 422, "unsafe_file", "features.a"),
    "inflating": (npz(compressed=True, **BOMB), 422, "unsafe_file", "inflate"),
    "no labels": (changed(labels=None), 422, "invalid_features", "labels"),
    "no features": (changed(**{"features.a": None}), 422, "invalid_features", "features."),
    "float labels": (changed(labels=np.arange(20) % 4 * 1.0), 422, "invalid_features", "labels"),
    "negative labels": (changed(labels=np.arange(20) % 4 - 1), 422, "invalid_features", "row 0"),
    "lengths differ": (changed(labels=np.arange(19) % 4), 422, "invalid_features", "19"),
    "one sample": (
        changed(labels=np.array([1]), **{"features.a": np.ones((1, 3), np.float32)}),
        422,
        "invalid_features",
        "1 sample",
    ),
    "one class": (changed(labels=np.zeros(20, int)), 422, "invalid_features", "classes"),
    "NaN": (changed(**{"features.a": with_value(np.nan, 13)}), 422, "invalid_features", "row 13"),
    "infinity": (changed(**{"features.a": with_value(np.inf, 7)}), 422, "invalid_features", "row 7"),
    "integer features": (changed(**{"features.a": np.ones((20, 3), int)}), 422, "invalid_features", "features.a"),
    "weights that do not fit": (changed(**{"weights.a": np.ones((4, 5))}), 422, "invalid_features", "weights.a"),
    "weights of no layer": (changed(**{"weights.b": np.ones((4, 3))}), 422, "invalid_features", "weights.b"),
    "unknown tensor": (changed(**{"feature.a": np.ones((20, 3))}), 422, "invalid_features", "feature.a"),
}


def kept(client) -> list[Path]:
    files: FolderStore = client.services.feature_sets.files
    return [path for path in files.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["/v1/features", "/v1/analyses"])
def test_bad_files_are_refused_and_leave_nothing(make_client, path) -> None:
    client = make_client(max_upload_bytes=32 * MIB)
    for name, (body, status, code, word) in CASES.items():
        response = client.post(path, content=body)
        problem = response.json()
        assert (response.status_code, problem["code"]) == (status, code), (name, problem)
        assert response.headers["content-type"] == "application/problem+json"
        assert word in problem["detail"], (name, problem["detail"])
        assert problem["request_id"] == response.headers["x-request-id"]
    assert kept(client) == []
    assert client.get("/v1/jobs").json()["items"] == []
    assert client.post("/v1/features", content=changed()).status_code == 201


def test_a_body_over_the_limit_is_refused_while_it_streams(make_client) -> None:
    client = make_client(max_upload_bytes=2 * MIB)
    body = changed(**{"features.a": np.ones((20, MIB // 40), np.float64)})
    assert len(body) > 2 * MIB

    def stream():
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    for content in (body, stream()):  # announced by Content-Length, and not
        response = client.post("/v1/features", content=content)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert kept(client) == []


def test_a_json_body_over_its_limit_is_a_problem_too(client) -> None:
    response = client.post(
        "/v1/jobs", content=b'"' + b"x" * 2 * MIB + b'"', headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "train_a_cat", "features": "f"}, "/kind"),
        ({"kind": "measure_collapse"}, "/features"),
        ({"kind": "measure_collapse", "features": "f", "metrics": ["rnk"]}, "/metrics"),
        ({"kind": "measure_collapse", "features": "f", "rank_tolerance": 2}, "/rank_tolerance"),
        ({"kind": "measure_collapse", "features": "f", "class_weighting": "even"}, "/class_weighting"),
        ({"kind": "measure_collapse", "features": "f", "step": 2**63}, "/step"),
        ({"kind": "measure_collapse", "features": "f", "run": "a\0b"}, "/run"),
        ({"kind": "measure_collapse", "features": "f", "spectrum": ["x"]}, "/spectrum"),
        ({"kind": "measure_collapse", "features": "f", "tags": ["x" * 65]}, "/tags/0"),
        ([], ""),
        ({}, "/kind"),
        ({"kind": None}, "/kind"),
        ({"kind": "train_dufm", "weight_decay": -1}, "/weight_decay"),
        ({"kind": "train_dufm", "weight_decay": [0.1, 0.1, -1, 0.1]}, "/weight_decay/2"),
        ({"kind": "train_dufm", "weight_decay": "little"}, "/weight_decay"),
        ({"kind": "train_dufm", "width": []}, "/width"),
        ({"kind": "train_dufm", "width": [0, 1, 1, 1]}, "/width/0"),
        ({"kind": "train_dufm", "width": 1.5}, "/width"),
        ({"kind": "train_dufm", "width": True}, "/width"),
        ({"kind": "train_dufm", "seed": False}, "/seed"),
        ({"kind": "train_dufm", "steps": "100"}, "/steps"),
        ({"kind": "train_dufm", "learning_rate": "0.5"}, "/learning_rate"),
        ({"kind": "train_dufm", "feature_decay": True}, "/feature_decay"),
        ({"kind": "measure_collapse", "features": "f", "step": True}, "/step"),
        ({"kind": "measure_collapse", "features": "f", "expires_in_seconds": "60"}, "/expires_in_seconds"),
        ({"kind": "train_dufm", "weight_decay": [0.1]}, ""),
        ({"kind": "train_dufm", "stop_when": {"loss": 1}}, "/stop_when/loss"),
        ({"kind": "train_dufm", "train_dufm": 1}, "/train_dufm"),
        ({"kind": "find_dufm_optimum", "width": [1, 2, "three", 4]}, "/width/2"),
        ({"kind": "reproduce_figure", "figure": "fig1"}, "/figure"),
        ({"kind": "sweep_dufm", "grid": {"depth": [2]}}, "/base"),
        ({"kind": "sweep_dufm", "base": {"depth": 2}, "grid": {"depth": [2]}}, "/base/kind"),
        ({"kind": "sweep_dufm", "base": {"kind": "sweep_dufm"}, "grid": {"depth": [2]}}, "/base/kind"),
        ({"kind": "sweep_dufm", "base": {"kind": "train_dufm", "depth": 0}, "grid": {"depth": [2]}}, "/base/depth"),
        ({"kind": "sweep_dufm", "base": {"kind": "train_dufm"}, "grid": {"depth": []}}, "/grid/depth"),
        ({"kind": "sweep_dufm", "base": {"kind": "train_dufm"}, "grid": {"depth": [0]}}, ""),
    ],
)
def test_a_wrong_field_is_pointed_at(lasting_client, body, pointer) -> None:
    response = lasting_client.post("/v1/jobs", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "train_a_cat"}, ['there is no "train_a_cat"', "'measure_collapse'", "'train_dufm'", "'sweep_dufm'"]),
        ({}, ["/kind: Field required"]),
        ({"kind": "train_dufm", "weight_decay": [0.1]}, ["weight_decay has 1 values and depth is 4"]),
        ({"kind": "sweep_dufm", "base": {"kind": "train_dufm"}, "grid": {"depth": [0]}}, ["at {'depth': 0}"]),
        ({"kind": "train_dufm", "weight_decay": -1}, ["greater than or equal to 0"]),
        ({"kind": "train_dufm", "num_classes": 1000, "samples_per_class": 10000, "runs": 1024}, ["GiB", "fewer runs"]),
    ],
)
def test_the_words_say_what_is_wrong(lasting_client, body, words) -> None:
    problem = lasting_client.post("/v1/jobs", json=body).json()
    assert problem["code"] == "invalid_request"
    assert len(problem["errors"]) == 1
    assert all(word in problem["detail"] for word in words), problem["detail"]


def test_an_unknown_layer_names_those_there_are(client, file_of) -> None:
    features = client.post("/v1/features", content=file_of(feature_arrays())).json()["id"]
    response = client.post("/v1/jobs", json={"kind": "measure_collapse", "features": features, "layers": ["layer7"]})
    assert response.json()["errors"] == [
        {"pointer": "/layers", "detail": "no layer 'layer7' in these features; they have: layer0, layer1"}
    ]
    analysed = client.post("/v1/analyses?layers=layer7", content=file_of(feature_arrays(seed=9)))
    assert (analysed.status_code, analysed.json()["code"]) == (422, "invalid_request")
    assert len(kept(client)) == 1  # the refused one is gone again


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PATCH", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/job_x", 404, "job_not_found"),
        ("GET", "/v1/jobs/job_x/report", 404, "job_not_found"),
        ("GET", "/v1/jobs/job_x/events", 404, "job_not_found"),
        ("POST", "/v1/jobs/job_x/cancel", 404, "job_not_found"),
        ("DELETE", "/v1/jobs/job_x", 404, "job_not_found"),
        ("GET", "/v1/features/x", 404, "features_not_found"),
        ("DELETE", "/v1/features/x", 404, "features_not_found"),
        ("PUT", "/v1/features/x/parts/0", 404, "features_not_found"),
        ("PUT", "/v1/features/x/parts/9223372036854775808", 404, "features_not_found"),
        ("POST", "/v1/features/x/complete", 404, "features_not_found"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=9223372036854775808", 422, "invalid_request"),
        ("GET", "/v1/jobs?cursor=x", 422, "invalid_request"),
        ("GET", "/v1/jobs?status=lost", 422, "invalid_request"),
        ("GET", "/v1/jobs/job_x?wait=61", 404, "job_not_found"),
        ("POST", "/v1/analyses?step=9223372036854775808", 422, "invalid_request"),
        ("POST", "/v1/analyses?metrics=rnk", 422, "invalid_request"),
        ("POST", "/v1/features?parts=closed", 422, "invalid_request"),
        ("GET", "/v1/jobs/%00", 404, "job_not_found"),
        ("GET", "/v1/jobs?run=%00", 422, "invalid_request"),
        ("GET", "/v1/jobs?parent=%00", 422, "invalid_request"),
        ("GET", "/v1/jobs/job_x/artifacts", 404, "job_not_found"),
        ("GET", "/v1/jobs/job_x/artifacts/a.csv", 404, "job_not_found"),
        ("GET", "/v1/jobs/job_x/plots", 404, "job_not_found"),
        ("GET", "/v1/jobs/job_x/plots/loss.svg", 404, "job_not_found"),
        ("GET", "/v1/optima/1/1", 404, "optimum_not_found"),
        ("GET", "/v1/optima/10/4?decay=0.0041", 404, "optimum_not_found"),
        ("GET", "/v1/optima/10/4?decay=nan", 422, "invalid_request"),
        ("GET", "/v1/optima/ten/4", 422, "invalid_request"),
        ("GET", "/v1/optima/99999999999999999999/4", 422, "invalid_request"),
    ],
)
def test_every_refusal_is_a_problem(lasting_client, method, path, status, code) -> None:
    response = lasting_client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) >= {"type", "title", "status", "detail", "code", "request_id"}


def test_what_is_asked_of_a_thing_that_is_there_is_checked(client) -> None:
    features = client.post("/v1/features?parts=open").json()["id"]
    job = client.post("/v1/jobs", json={"kind": "train_dufm", "num_classes": 2, "depth": 2}).json()["id"]
    for method, path in (
        ("PUT", f"/v1/features/{features}/parts/9223372036854775808"),
        ("GET", f"/v1/jobs/{job}?wait=61"),
    ):
        response = client.request(method, path)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


def test_unreadable_json_is_a_bad_request(client) -> None:
    response = client.post("/v1/jobs", content=b'{"kind":', headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_a_job_on_unknown_features_is_not_found(client) -> None:
    response = client.post("/v1/jobs", json={"kind": "measure_collapse", "features": "features_x"})
    assert (response.status_code, response.json()["code"]) == (404, "features_not_found")


def test_an_unexpected_error_is_a_problem_without_a_trace(client, monkeypatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("secret path /somewhere")

    monkeypatch.setattr(client.services.jobs, "get", broken)
    response = client.get("/v1/jobs/job_x", headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == response.json()["request_id"] == "mine"


def test_an_address_tells_all_methods_that_it_takes(client) -> None:
    for path, allowed in (("/v1/jobs", "GET, POST"), ("/v1/features/features_x", "DELETE, GET"), ("/", "GET")):
        assert client.patch(path).headers["allow"] == allowed
