"""The API with its files in a real bucket: there, away, and there again."""

import hashlib
import signal

import pytest
from feature_files import feature_arrays
from object_store import running_object_store

from jobs.store import NewJob


@pytest.fixture
def finished_job():
    """Makes a job that has left this file."""

    def make(services, content: bytes) -> str:
        job, _ = services.jobs.create(NewJob(kind="train_dufm", parameters={"kind": "train_dufm"}))
        token = services.jobs.claim(job.id, lease_seconds=60).lease_token
        with services.artifacts.of_running_job() as kept:
            kept.keep("table.csv", content)
            with kept.put_in_place() as files:
                services.jobs.succeed(job.id, token, body="{}", etag="e", measurements=[], artifacts=files)
        return job.id

    return make


def test_uploads_and_downloads_by_way_of_a_bucket(make_client, object_store, file_of, finished_job) -> None:
    client = make_client(**object_store.settings(object_store.bucket()))
    body = file_of(feature_arrays())
    uploaded = client.post("/v1/features", content=body).json()
    files = client.services.feature_sets.files
    assert b"".join(files.read(uploaded["sha256"])) == body
    job_id = finished_job(client.services, b"a,b\n1,2\n")
    address = f"/v1/jobs/{job_id}/artifacts/table.csv"
    whole = client.get(address)
    assert (whole.content, whole.headers["etag"]) == (b"a,b\n1,2\n", f'"{hashlib.sha256(whole.content).hexdigest()}"')
    part = client.get(address, headers={"Range": "bytes=4-6"})
    assert (part.status_code, part.content) == (206, b"1,2")
    assert client.delete(f"/v1/features/{uploaded['id']}").status_code == 204
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert list(files.blobs()) == []


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_bucket_that_is_away_is_a_503_and_nothing_half_done(make_client, file_of, finished_job) -> None:
    with running_object_store() as server:
        client = make_client(**server.settings(server.bucket()))
        job_id = finished_job(client.services, b"1\n")
        kept = client.post("/v1/features", content=file_of(feature_arrays(seed=1))).json()["id"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        for answer in (
            client.post("/v1/features", content=file_of(feature_arrays(seed=2))),
            client.get(f"/v1/jobs/{job_id}/artifacts/table.csv"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert client.delete(f"/v1/features/{kept}").status_code == 204  # the file is left to housekeeping
        assert client.get(f"/v1/features/{kept}").status_code == 404
    assert len(client.get("/v1/jobs").json()["items"]) == 1
    assert list(client.services.feature_sets.files.staging.iterdir()) == []
    assert len(client.services.artifacts.blobs.store.garbage()) == 2


def test_a_lost_file_is_told(client, finished_job) -> None:
    job_id = finished_job(client.services, b"1\n")
    client.services.feature_sets.files.remove([hashlib.sha256(b"1\n").hexdigest()])
    answer = client.get(f"/v1/jobs/{job_id}/artifacts/table.csv")
    assert (answer.status_code, answer.json()["code"]) == (404, "file_lost")
