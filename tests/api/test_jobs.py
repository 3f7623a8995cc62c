"""Jobs over HTTP, run in this process by the worker's own function."""

import json
import threading

import httpx
import jsonschema
import numpy as np
import pytest
import torch
from feature_files import feature_arrays, split

from collapse_client import write_moments
from collapse_client.format.moments import Moments

VIEW = {
    "id", "kind", "status", "progress", "created_at", "started_at", "finished_at",
    "expires_at", "attempts", "run", "step", "tags",
    "parameters", "error", "parent", "links",
}  # fmt: skip


@pytest.fixture
def features(client, file_of) -> str:
    return client.post("/v1/features", content=file_of(feature_arrays())).json()["id"]


@pytest.fixture
def submit(client, features):
    def post(headers: dict[str, str] | None = None, **changes: object) -> httpx.Response:
        return client.post(
            "/v1/jobs", json={"kind": "measure_collapse", "features": features, **changes}, headers=headers
        )

    return post


def test_a_job_goes_from_queued_to_a_report(client, submit, features, run_jobs) -> None:
    accepted = submit(run="r", step=4, tags=["x", "y"], layers=["layer1"])
    assert accepted.status_code == 202
    assert int(accepted.headers["retry-after"]) >= 1
    location = accepted.headers["location"]
    queued = client.get(location).json()
    assert set(queued) == VIEW
    assert (queued["status"], queued["run"], queued["step"], queued["tags"]) == ("queued", "r", 4, ["x", "y"])
    assert queued["parameters"]["features"] == features
    early = client.get(f"{location}/report")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
    run_jobs()
    ended = client.get(location).json()
    assert (ended["status"], ended["progress"]["fraction"], ended["attempts"]) == ("succeeded", 1.0, 1)
    report = client.get(ended["links"]["report"])
    assert [layer["name"] for layer in report.json()["layers"]] == ["layer1"]
    assert (report.json()["run"], report.json()["step"], report.json()["job_id"]) == ("r", 4, ended["id"])
    jsonschema.validate(report.json(), client.get("/v1/schemas/report.json").json())
    unchanged = client.get(f"{location}/report", headers={"If-None-Match": report.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_parts_give_the_report_of_the_whole(client, file_of, run_jobs) -> None:
    arrays = feature_arrays(num_samples=300)
    base = client.post("/v1/features?parts=open").headers["location"]
    for index, part in enumerate(split(arrays, [7, 150])):
        client.put(f"{base}/parts/{index}", content=file_of(part))
    in_parts = client.post(f"{base}/complete").json()["id"]
    whole = client.post("/v1/features", content=file_of(arrays)).json()["id"]
    jobs = [
        client.post("/v1/jobs", json={"kind": "measure_collapse", "features": i}).json()["id"]
        for i in (whole, in_parts)
    ]
    run_jobs()
    one, other = (client.get(f"/v1/jobs/{job}/report").json() for job in jobs)
    for layer, same in zip(one["layers"], other["layers"], strict=True):
        defined = {name: value for name, value in layer["metrics"].items() if value is not None}
        assert defined
        assert {name: same["metrics"][name] for name in defined} == pytest.approx(defined, rel=1e-10)


def moments_of(path, arrays) -> bytes:
    """What a training process would send in place of these samples."""
    labels = torch.as_tensor(arrays["labels"])
    layers = [name.partition(".")[2] for name in arrays if name.startswith("features.")]
    moments = {}
    for layer in layers:
        features = torch.as_tensor(arrays[f"features.{layer}"])
        moments[layer] = Moments(num_classes=4, dim=features.shape[1], second_moments="matrix")
        moments[layer].update(features, labels)
    weights = {layers[-1]: arrays[f"weights.{layers[-1]}"]}
    write_moments(path, classes=range(4), moments=moments, weights=weights)
    return path.read_bytes()


@pytest.mark.parametrize("weighting", ["balanced", "sample"])
def test_moments_give_the_report_of_the_samples(client, file_of, run_jobs, tmp_path, weighting) -> None:
    arrays = feature_arrays(num_samples=301)
    bodies = (file_of(arrays), moments_of(tmp_path / "moments.safetensors", arrays))
    jobs = [client.post(f"/v1/analyses?class_weighting={weighting}", content=body).json() for body in bodies]
    assert {job["parameters"]["class_weighting"] for job in jobs} == {weighting}
    views = [client.get(f"/v1/features/{job['parameters']['features']}").json() for job in jobs]
    assert [layer["second_moments"] for layer in views[1]["layers"]] == ["matrix", "matrix"]
    assert [layer["second_moments"] for layer in views[0]["layers"]] == [None, None]
    assert views[0]["class_counts"] == views[1]["class_counts"]
    run_jobs()
    samples, moments = (client.get(f"{job['links']['report']}").json() for job in jobs)
    assert samples["summary"]["rules"] == moments["summary"]["rules"]
    by_name = {entry["name"]: entry for entry in client.get("/v1/catalogue").json()}
    for layer, same in zip(samples["layers"], moments["layers"], strict=True):
        for name, value in layer["metrics"].items():
            if by_name[name]["needs"] == "samples" or value is None:
                assert same["metrics"][name] is None
            else:
                assert same["metrics"][name] == pytest.approx(value, rel=1e-10, abs=1e-13), name
    jsonschema.validate(moments, client.get("/v1/schemas/report.json").json())


def test_splits_are_reported_apart(client, file_of, run_jobs) -> None:
    arrays = feature_arrays(num_samples=300)
    arrays["split"] = (np.arange(300) % 3 == 0).astype(np.int64)
    job = client.post("/v1/analyses", content=file_of(arrays)).json()
    run_jobs()
    report = client.get(job["links"]["report"]).json()
    assert (report["num_samples"], report["layers"][0]["splits"]["1"]["num_samples"]) == (200, 100)
    assert set(report["layers"][0]["splits"]) == {"1"}
    jsonschema.validate(report, client.get("/v1/schemas/report.json").json())


def test_the_same_key_gives_one_job(submit, client) -> None:
    headers = {"Idempotency-Key": "epoch-4"}
    first, again = submit(headers), submit(headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    assert first.json() == again.json()
    reused = submit(headers, step=5)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").json()["items"]) == 1


def test_a_job_that_fits_no_worker_is_refused_unless_it_was_accepted_before(submit, client) -> None:
    accepted = submit({"Idempotency-Key": "early"})
    client.services.workers.arrive("small", device="cpu", queues=["cpu"], memory_bytes=2**10)
    refused = submit({"Idempotency-Key": "late"})
    assert (refused.status_code, refused.json()["code"]) == (422, "job_too_large")
    assert "GiB" in refused.json()["detail"]
    assert submit({"Idempotency-Key": "early"}).json()["id"] == accepted.json()["id"]
    client.services.workers.arrive("large", device="cpu", queues=["cpu"], memory_bytes=2**40)
    assert submit({"Idempotency-Key": "late"}).status_code == 202


def test_the_one_call_form_answers_with_the_report(client, file_of, run_jobs) -> None:
    body = file_of(feature_arrays(seed=3))
    url = "/v1/analyses?run=r&step=2&tags=a,b&layers=layer1,layer0&metrics=class_mean_rank,equinorm"
    headers = {"Idempotency-Key": "k"}
    accepted = client.post(url, content=body, headers=headers)
    assert accepted.status_code == 202
    run_jobs()
    finished = client.post(url, content=body, headers={**headers, "Prefer": "wait=10"})
    assert finished.status_code == 200
    assert finished.headers["preference-applied"] == "wait=10"
    view = finished.json()
    assert (view["id"], view["status"], view["tags"]) == (accepted.json()["id"], "succeeded", ["a", "b"])
    assert [layer["name"] for layer in view["report"]["layers"]] == ["layer1", "layer0"]
    assert set(view["report"]["layers"][0]["metrics"]) == {"class_mean_rank", "equinorm"}


def test_waiting_ends_with_the_job_or_with_the_time(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    assert client.get(f"{location}?wait=1").json()["status"] == "queued"
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{client.base_url}{location}?wait=60", timeout=70))
    )
    waiting.start()
    run_jobs()
    waiting.join(timeout=20)
    assert answers[0].json()["status"] == "succeeded"


def test_an_unchanged_job_costs_no_body(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    etag = client.get(location).headers["etag"]
    assert client.get(location, headers={"If-None-Match": etag}).status_code == 304
    run_jobs()
    assert client.get(location, headers={"If-None-Match": etag}).status_code == 200


def events_of(response: httpx.Response) -> list[dict[str, str]]:
    blocks = [block.splitlines() for block in response.read().decode().split("\n\n") if block.strip()]
    return [
        dict(line.split(": ", 1) for line in block if not line.startswith(":"))
        for block in blocks if not all(line.startswith(":") for line in block)
    ]  # fmt: skip


def test_events_tell_the_life_of_a_job_and_resume(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    with client.stream("GET", f"{location}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        run_jobs()
        events = events_of(stream)
    assert events[0]["event"] == "state"
    assert json.loads(events[0]["data"])["status"] == "queued"
    assert json.loads(events[-1]["data"])["status"] == "succeeded"
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    resumed = client.get(f"{location}/events", headers={"Last-Event-ID": str(ids[0])})
    assert [int(event["id"]) for event in events_of(resumed)] == [ids[-1]]
    assert events_of(client.get(f"{location}/events", headers={"Last-Event-ID": str(ids[-1])})) == []


def test_a_queued_job_is_cancelled_then_deleted(client, submit, run_jobs) -> None:
    location = submit().headers["location"]
    refused = client.delete(location)
    assert (refused.status_code, refused.json()["code"]) == (409, "job_not_finished")
    cancelled = client.post(f"{location}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    again = client.post(f"{location}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job_already_finished")
    run_jobs()  # the message is still there; nothing happens
    assert client.get(location).json()["status"] == "cancelled"
    assert client.get(f"{location}/report").json()["code"] == "report_not_found"
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404


def test_pages_are_followed_by_their_cursor(client, submit) -> None:
    ids = [submit(tags=["odd"] if number % 2 else [], run=f"r{number % 3}").json()["id"] for number in range(7)]
    seen, cursor = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert len(client.get("/v1/jobs?tag=odd").json()["items"]) == 3
    assert len(client.get("/v1/jobs?run=r0&kind=measure_collapse&status=queued").json()["items"]) == 3


def test_a_key_is_asked_for_where_one_is_set(make_client) -> None:
    client = make_client(api_key="secret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret-"}):
        refused = client.get("/v1/jobs", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/jobs", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client.get("/healthz").status_code == 200
