"""The client against a real HTTP server that gives prepared answers: what it sends, and what it makes of them."""

import base64
import contextlib
import hashlib
import json
import socket
import threading

import numpy as np
import pytest

from collapse_client import Client, JobFailed, ServiceError, ServiceUnreachable, WaitTimeout, write_features
from collapse_client.format import FeatureFile, InvalidFeatures, open_features


def job(status="queued", **fields):
    progress = {"fraction": 0.5, "phase": "moments", "current": 1, "total": 2, "eta_seconds": 1.0}
    return {"id": "job_1", "status": status, "error": None, "progress": progress, **fields}


@pytest.fixture
def client(service):
    with Client(service.url, api_key="secret", retry_seconds=5) as client:
        yield client


@pytest.fixture
def feature_file(tmp_path):
    path = tmp_path / "f.safetensors"
    random = np.random.default_rng(0).normal(size=(1000, 400))  # 3 MiB: more than one block
    write_features(path, labels=np.arange(1000) % 7, features={"a": random})
    return path


@pytest.mark.parametrize(
    ("call", "status", "sent"),
    [
        (lambda client: client.features("f_1"), 200, "GET /v1/features/f_1"),
        (lambda client: client.features("../x?y"), 200, "GET /v1/features/..%2Fx%3Fy"),
        (lambda client: client.delete_features("f_1"), 204, "DELETE /v1/features/f_1"),
        (lambda client: client.open_parts(), 201, "POST /v1/features?parts=open"),
        (lambda client: client.open_parts(layers=["b", "a"]), 201, "POST /v1/features?parts=open&layers=b%2Ca"),
        (lambda client: client.complete("f_1"), 200, "POST /v1/features/f_1/complete"),
        (lambda client: client.job("job_1"), 200, "GET /v1/jobs/job_1"),
        (lambda client: client.report("job_1"), 200, "GET /v1/jobs/job_1/report"),
        (lambda client: client.report(job("succeeded")), 200, "GET /v1/jobs/job_1/report"),
        (lambda client: client.plots(job("succeeded")), 200, "GET /v1/jobs/job_1/plots"),
        (lambda client: client.cancel("job_1"), 202, "POST /v1/jobs/job_1/cancel"),
        (lambda client: client.delete_job("job_1"), 204, "DELETE /v1/jobs/job_1"),
        (lambda client: client.catalogue(), 200, "GET /v1/catalogue"),
        (lambda client: client.artifacts("job_1"), 200, "GET /v1/jobs/job_1/artifacts"),
        (lambda client: client.plots("job_1"), 200, "GET /v1/jobs/job_1/plots"),
        (lambda client: client.optima(depth=4), 200, "GET /v1/optima?depth=4"),
        (lambda client: client.optimum(10, 4), 200, "GET /v1/optima/10/4"),
        (lambda client: client.optimum(10, 4, 0.004), 200, "GET /v1/optima/10/4?decay=0.004"),
    ],
)
def test_each_call_is_a_line_of_the_contract(service, client, call, status, sent):
    answer = None if status == 204 else {"id": "x"}
    service.will_answer(status, answer)
    assert call(client) == answer
    ((method, path, headers, _),) = service.requests
    assert f"{method} {path}" == sent
    assert headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (lambda client: client.artifact("job_1", "a b.csv"), "GET /v1/jobs/job_1/artifacts/a%20b.csv"),
        (lambda client: client.plot("job_1", "loss"), "GET /v1/jobs/job_1/plots/loss.svg"),
        (lambda client: client.plot("job_1", "loss", "vl.json"), "GET /v1/jobs/job_1/plots/loss.vl.json"),
        (lambda client: client.solution(10, 4, 0.004), "GET /v1/optima/10/4/solution.safetensors?decay=0.004"),
    ],
)
@pytest.mark.parametrize("content", [b"\x00\xff", b"", b"{}"])
def test_files_come_as_they_are(service, client, call, sent, content):
    service.will_answer(200, content)
    assert call(client) == content
    ((method, path, _, _),) = service.requests
    assert f"{method} {path}" == sent


def test_a_file_that_is_not_there_is_told(service, client):
    service.will_refuse(404, "artifact_not_found", "Job job_1 has no artifact 'b': it has a.")
    with pytest.raises(ServiceError, match="it has a") as refused:
        client.artifact("job_1", "b")
    assert (refused.value.status, refused.value.code) == (404, "artifact_not_found")


def test_without_a_key_none_is_sent(service):
    service.will_answer(200, {})
    with Client(service.url) as client:
        client.catalogue()
    assert "Authorization" not in service.requests[0][2]


def test_a_file_is_sent_whole_with_its_length(service, client, feature_file):
    service.will_answer(201, {"id": "f_1"})
    assert client.upload(feature_file, layers=["a"]) == {"id": "f_1"}
    ((method, path, headers, body),) = service.requests
    assert (method, path) == ("POST", "/v1/features?layers=a")
    assert headers["Content-Length"] == str(feature_file.stat().st_size)
    assert "Transfer-Encoding" not in headers
    assert body == feature_file.read_bytes()


def test_everything_that_is_kept_may_be_given_a_lifetime(service, client, feature_file):
    for _ in range(5):
        service.will_answer(201, {"id": "f_1"})
    client.upload(feature_file, expires_in_seconds=60)
    client.open_parts(expires_in_seconds=60)
    client.complete("f_1", expires_in_seconds=60)
    client.analyse(feature_file, expires_in_seconds=60)
    client.submit("measure_collapse", features="f_1", expires_in_seconds=60)
    *in_the_address, (_, _, _, body) = service.requests
    assert all("expires_in_seconds=60" in path for _, path, _, _ in in_the_address)
    assert json.loads(body)["expires_in_seconds"] == 60


def test_a_file_is_sent_again_from_its_start(service, client, feature_file):
    service.will_refuse(503, "database_unavailable", Retry_After="0")
    service.will_answer(200, {"id": "f_1"})
    client.upload(feature_file)
    first, second = service.requests
    assert first[3] == second[3] == feature_file.read_bytes()


def test_tensors_are_sent_as_a_file(service, client, tmp_path):
    service.will_answer(201, {"id": "f_1"})
    tensors = {"labels": np.arange(2), "features.z": np.eye(2), "features.a": np.eye(2), "weights.a": np.eye(2)}
    client.upload(tensors)
    path = tmp_path / "sent"
    path.write_bytes(service.requests[0][3])
    with FeatureFile.open(path, max_inflated_bytes=2**20) as file:
        assert file.layers == ("z", "a")
        assert np.array_equal(file.weights("a"), np.eye(2))


@pytest.mark.parametrize("send", [lambda client, tensors: client.upload(tensors), Client.analyse])
def test_splits_and_samples_of_no_class_are_sent(service, client, tmp_path, send):
    service.will_answer(201, {"id": "f_1"})
    tensors = {"labels": np.arange(2), "split": [1, 0], "features.a": np.eye(2), "ood.a": np.ones((3, 2))}
    send(client, tensors)
    with opened(service, tmp_path) as file:
        assert [tile.tolist() for tile in file.split_tiles(9)] == [[1, 0]]
        assert [tile.tolist() for tile in file.ood_tiles("a", 9)] == [[[1, 1]] * 3]


@pytest.mark.parametrize("send", [lambda client, tensors: client.upload(tensors), Client.analyse])
def test_moments_are_sent(service, client, tmp_path, send):
    service.will_answer(201, {"id": "f_1"})
    tensors = {"classes": [4, 2], "counts": [1, 3], "means.z": np.eye(2), "scatter.z": np.array([0, 0.5])}
    send(client, {**tensors, "means.a": np.eye(2), "scatter.a": np.array([0, 0.25])})
    with opened(service, tmp_path) as file:
        assert file.layers == ("z", "a")
        assert file.classes.tolist() == [4, 2]
        assert file.scatter("a").tolist() == [0, 0.25]


@contextlib.contextmanager
def opened(service, folder):
    """The file that was sent last."""
    (folder / "sent").write_bytes(service.requests[-1][3])
    with open_features(folder / "sent", max_inflated_bytes=2**20) as file:
        yield file


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"features.a": np.eye(2)}, "labels"),
        ({"labels": [0, 1], "features.a": np.eye(2), "split": [0, 1, 2]}, "split"),
        ({"labels": [0, 1], "features.a": np.eye(2), "ood.a": np.eye(3)}, "ood.a"),
        ({"classes": [0, 1], "means.a": np.eye(2)}, "counts"),
        ({"classes": [0, 1], "means.a": np.eye(2), "labels": [0, 1]}, "mixes"),
    ],
)
def test_tensors_that_do_not_fit_are_not_sent(service, client, tensors, words):
    with pytest.raises(InvalidFeatures, match=words):
        client.upload(tensors)
    assert service.requests == []


def test_a_part(service, client, feature_file):
    service.will_answer(204)
    client.put_part("f_1", 3, feature_file)
    ((method, path, headers, body),) = service.requests
    assert (method, path) == ("PUT", "/v1/features/f_1/parts/3")
    assert body == feature_file.read_bytes()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert headers["Content-Digest"] == f"sha-256=:{digest}:"


def test_a_part_that_came_broken_is_sent_again(service, client, feature_file):
    service.will_refuse(400, "digest_mismatch")
    service.will_answer(204)
    client.put_part("f_1", 0, feature_file)
    assert len(service.requests) == 2


def test_a_job_is_submitted_with_a_key_of_its_own(service, client):
    for _ in range(2):
        service.will_answer(202, job())
        client.submit("measure_collapse", run="r", step=0, tags=["x"], features="f_1", metrics=["rank"])
    first, second = service.requests
    assert json.loads(first[3]) == {
        "kind": "measure_collapse",
        "features": "f_1",
        "metrics": ["rank"],
        "run": "r",
        "step": 0,
        "tags": ["x"],
    }
    assert first[2]["Idempotency-Key"] != second[2]["Idempotency-Key"]


def test_a_job_that_is_put_off_is_submitted_again_with_the_same_key(service, client):
    service.will_refuse(503, "queue_unavailable", Retry_After="0")
    service.will_refuse(429, "rate_limited", Retry_After="0")
    service.will_answer(202, job())
    client.submit("measure_collapse", features="f_1")
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in service.requests}) == 1


def test_your_own_key_is_used(service, client):
    service.will_answer(202, job())
    client.submit("measure_collapse", features="f_1", idempotency_key="mine")
    assert service.requests[0][2]["Idempotency-Key"] == "mine"
    assert json.loads(service.requests[0][3]) == {"kind": "measure_collapse", "features": "f_1"}


def test_analyse_in_one_call(service, client, feature_file):
    service.will_answer(200, job("succeeded", report={"layers": []}))
    done = client.analyse(
        feature_file, run="r", step=3, tags=["x", "y"], layers=["a"], metrics=["rank"], wait_seconds=90
    )
    assert done["report"] == {"layers": []}
    ((method, path, headers, _),) = service.requests
    assert method == "POST"
    assert path == "/v1/analyses?run=r&step=3&tags=x%2Cy&layers=a&metrics=rank"
    assert headers["Prefer"] == "wait=60"
    assert headers["Idempotency-Key"]


def test_analyse_without_waiting(service, client, feature_file):
    service.will_answer(202, job())
    client.analyse(feature_file)
    assert "Prefer" not in service.requests[0][2]
    assert service.requests[0][1] == "/v1/analyses"


def test_a_string_is_no_list_of_names(client, feature_file):
    with pytest.raises(TypeError, match="list"):
        client.upload(feature_file, layers="a,b")


def test_all_pages_of_jobs(service, client):
    service.will_answer(200, {"items": [{"id": "3"}, {"id": "2"}], "next_cursor": "c&1"})
    service.will_answer(200, {"items": [{"id": "1"}], "next_cursor": None})
    assert [view["id"] for view in client.jobs(status="running", limit=2)] == ["3", "2", "1"]
    assert [path for _, path, _, _ in service.requests] == [
        "/v1/jobs?status=running&limit=2",
        "/v1/jobs?status=running&limit=2&cursor=c%261",
    ]


def test_an_error_carries_the_words_of_the_service(service, client):
    errors = [{"pointer": "/steps", "detail": "too large"}]
    problem = {"code": "invalid_request", "detail": "Give fewer steps.", "errors": errors, "request_id": "r1"}
    service.will_answer(422, problem)
    with pytest.raises(ServiceError, match="Give fewer steps") as caught:
        client.job("job_1")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (422, "invalid_request", "r1")
    assert list(error.errors) == errors


@pytest.mark.parametrize(("status", "content"), [(502, b"<html>Bad gateway"), (200, b"<html>"), (200, None), (404, [])])
def test_an_answer_of_somebody_else_is_told_apart(service, client, status, content):
    service.will_answer(status, content, X_Request_ID="r2")
    with pytest.raises(ServiceError, match=r"is http://127\.0\.0\.1:.* its address") as caught:
        client.job("job_1")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "unexpected_answer", "r2")


def test_a_refusal_without_a_pause_is_repeated_too(service, client):
    service.will_refuse(503, "database_unavailable")
    service.will_refuse(503, "database_unavailable", Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")
    service.will_answer(200, job())
    assert client.job("job_1")["id"] == "job_1"


def test_a_pause_beyond_the_bound_is_not_waited_for(service, client):
    service.will_refuse(429, "quota_exceeded", Retry_After="3600")
    with pytest.raises(ServiceError) as caught:
        client.job("job_1")
    assert caught.value.retry_after_seconds == 3600


def test_what_is_not_safe_to_repeat_is_not_repeated(service, client):
    service.will_refuse(503, "database_unavailable", Retry_After="0")
    with pytest.raises(ServiceError):
        client.open_parts()


def test_other_errors_are_not_repeated(service, client):
    service.will_refuse(500, "internal_error")
    with pytest.raises(ServiceError):
        client.job("job_1")
    assert len(service.requests) == 1


def test_nobody_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with (
            Client(f"http://127.0.0.1:{taken.getsockname()[1]}") as client,
            pytest.raises(ServiceUnreachable, match="is it running"),
        ):
            client.catalogue()


@pytest.mark.parametrize("url", ["localhost:8000", "no url at all", "http://", "http://a:99999999", "http://[::1"])
def test_an_address_that_is_none(url):
    with pytest.raises(ServiceUnreachable, match="address"), Client(url) as client:
        client.catalogue()


def test_waiting_for_a_job(service, client):
    for view in (job(), job("running"), job("succeeded")):
        service.will_answer(200, view)
    seen = []
    assert client.wait(job(), on_progress=lambda view: seen.append(view["status"]))["status"] == "succeeded"
    assert seen == ["queued", "running", "succeeded"]
    assert {path for _, path, _, _ in service.requests} == {"/v1/jobs/job_1?wait=1"}


def test_waiting_without_watching_holds_for_as_long_as_it_can(service, client):
    service.will_answer(200, job("succeeded"))
    client.wait("job_1")
    assert service.requests[0][1] == "/v1/jobs/job_1?wait=60"


def test_a_failed_job_raises_with_the_words_of_the_service(service, client):
    service.will_answer(200, job("failed", error={"code": "invalid_features", "detail": "NaN in row 3"}))
    with pytest.raises(JobFailed, match="NaN in row 3") as caught:
        client.wait("job_1")
    assert caught.value.code == "invalid_features"
    assert caught.value.job["id"] == "job_1"


def test_a_cancelled_job_raises(service, client):
    service.will_answer(200, job("cancelled"))
    with pytest.raises(JobFailed) as caught:
        client.wait("job_1")
    assert caught.value.code == "cancelled"


def test_waiting_ends_in_time(service, client):
    service.will_answer(200, job("running"))
    with pytest.raises(WaitTimeout, match="still running") as caught:
        client.wait("job_1", timeout_seconds=0)
    assert caught.value.job["status"] == "running"
    assert service.requests[0][1] == "/v1/jobs/job_1?wait=0"


def test_waiting_survives_a_restart_of_the_service(service, client):
    """The first connection is dropped without an answer, as by a server that is killed."""
    with socket.create_server(("127.0.0.1", 0)) as dying:
        url = f"http://127.0.0.1:{dying.getsockname()[1]}"

        def die_then_answer():
            dying.accept()[0].close()
            connection, _ = dying.accept()
            with connection:
                connection.recv(65536)
                body = json.dumps(job("succeeded")).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)

        thread = threading.Thread(target=die_then_answer)
        thread.start()
        with Client(url) as patient:
            assert patient.wait("job_1")["status"] == "succeeded"
        thread.join()
