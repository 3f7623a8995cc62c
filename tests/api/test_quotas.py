"""What an owner may have, by the tightest of their keys: bytes, jobs queued, jobs running."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from feature_files import feature_arrays

from jobs.keys import Limits
from jobs.tables import Job

JOB = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 10}
SWEEP = {"kind": "sweep_dufm", "base": JOB, "grid": {"width": [4, 5]}}


def require_refusal(response, *told: str) -> None:
    """It says the number, the limit, and when to come again."""
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded"), response.text
    assert int(response.headers["retry-after"]) > 0
    assert all(word in response.json()["detail"] for word in told), response.text


def test_queued_jobs_are_limited_with_the_children_of_sweeps(client, make_key) -> None:
    _, mine = make_key(owner="lab", limits=Limits(max_queued_jobs=4))
    make_key(owner="lab", limits=Limits(max_queued_jobs=100))  # the tightest counts
    assert client.post("/v1/jobs", json=SWEEP, headers=mine).status_code == 202
    require_refusal(client.post("/v1/jobs", json=SWEEP, headers=mine), "3 of your jobs", "6", "4 may be")
    last = client.post("/v1/jobs", json=JOB, headers={**mine, "Idempotency-Key": "k"})
    assert last.status_code == 202
    require_refusal(client.post("/v1/jobs", json=JOB, headers=mine), "4 of your jobs", "make it 5")
    again = client.post("/v1/jobs", json=JOB, headers={**mine, "Idempotency-Key": "k"})
    assert again.json()["id"] == last.json()["id"]
    assert client.post("/v1/jobs", json=JOB, headers=make_key()[1]).status_code == 202
    client.post(f"/v1/jobs/{last.json()['id']}/cancel", headers=mine).raise_for_status()
    assert client.post("/v1/jobs", json=JOB, headers=mine).status_code == 202


def test_a_refused_analysis_keeps_no_features(client, make_key, file_of) -> None:
    _, mine = make_key(owner="lab", limits=Limits(max_queued_jobs=1))
    client.post("/v1/jobs", json=JOB, headers=mine).raise_for_status()
    require_refusal(client.post("/v1/analyses", content=file_of(feature_arrays()), headers=mine), "1 may be")
    assert client.services.quotas.bytes_of("lab").used == 0


def test_of_many_at_once_no_more_are_queued_than_may_be(client, make_key) -> None:
    _, mine = make_key(limits=Limits(max_queued_jobs=5))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=JOB, headers=mine).status_code, range(24)))
    assert Counter(answers) == {202: 5, 429: 19}


@pytest.fixture
def file(file_of) -> bytes:
    return file_of(feature_arrays(num_samples=400))


def test_bytes_are_limited(client, make_key, file, file_of) -> None:
    size = len(file)
    _, mine = make_key(owner="lab", limits=Limits(max_bytes=2 * size + size // 2))
    first = client.post("/v1/features", content=file, headers=mine).json()["id"]
    parted = client.post("/v1/features?parts=open", headers=mine).json()["id"]
    part = f"/v1/features/{parted}/parts"
    assert client.put(f"{part}/0", content=file, headers=mine).status_code == 204
    for method, path in (("PUT", f"{part}/1"), ("POST", "/v1/features"), ("POST", "/v1/analyses")):
        # Known by its length; and, without one, while it comes.
        for content in (file, iter([file[: size // 2], file[size // 2 :]])):
            response = client.request(method, path, content=content, headers=mine)
            require_refusal(response, f"have {2 * size} bytes", f"{2 * size + size // 2} are allowed", "Delete")
    small = file_of({name: array for name, array in feature_arrays(num_samples=20).items() if "weights" not in name})
    assert client.put(f"{part}/1", content=small, headers=mine).status_code == 204
    client.delete(f"/v1/features/{first}", headers=mine)
    assert client.post("/v1/features", content=file, headers=mine).status_code == 201
    assert client.post("/v1/features", content=file, headers=make_key()[1]).status_code == 201


def test_of_many_files_at_once_no_more_are_kept_than_may_be(client, make_key, file_of) -> None:
    files = [file_of(feature_arrays(num_samples=400, seed=seed)) for seed in range(8)]
    _, mine = make_key(owner="lab", limits=Limits(max_bytes=3 * len(files[0])))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda file: client.post("/v1/features", content=file, headers=mine).status_code, files)
    assert Counter(answers) == {201: 3, 429: 5}
    assert client.services.quotas.bytes_of("lab").used == 3 * len(files[0])


def test_what_would_be_one_running_job_too_many_waits_and_keeps_nobody_else_back(client, make_key) -> None:
    jobs, repair = client.services.jobs, client.services.repair
    _, mine = make_key(owner="lab", limits=Limits(max_running_jobs=2))
    first, second, third, fourth = (client.post("/v1/jobs", json=JOB, headers=mine).json()["id"] for _ in range(4))
    others = client.post("/v1/jobs", json=JOB, headers=make_key()[1]).json()["id"]
    claimed = [jobs.claim(job, lease_seconds=60) for job in (first, second, third, fourth)]
    assert [job is not None for job in claimed] == [True, True, False, False]
    assert jobs.claim(others, lease_seconds=60) is not None
    assert jobs.get(third).status == "queued"
    # While none of the owner's may run, none is sent, however old.
    assert repair.perhaps_unsent(older_than_seconds=-1) == {}
    assert jobs.next_of("lab") == {}
    jobs.fail(first, token_of(claimed[0]), code="x", detail="x")
    assert repair.perhaps_unsent(older_than_seconds=60) == {third: "cpu"}
    assert jobs.next_of("lab") == {third: "cpu"}
    assert jobs.claim(third, lease_seconds=60) is not None
    assert jobs.claim(fourth, lease_seconds=60) is None


def test_of_many_workers_no_more_run_than_may(client, make_key) -> None:
    jobs = client.services.jobs
    _, mine = make_key(owner="lab", limits=Limits(max_running_jobs=3))
    ids = [client.post("/v1/jobs", json=JOB, headers=mine).json()["id"] for _ in range(9)]
    together = threading.Barrier(9)

    def claim(job_id: str) -> bool:
        together.wait()
        return jobs.claim(job_id, lease_seconds=60) is not None

    with ThreadPoolExecutor(9) as pool:
        assert sum(pool.map(claim, ids)) == 3


def test_a_parent_that_waits_does_not_keep_its_children_from_running(client, make_key, run_jobs) -> None:
    _, mine = make_key(owner="lab", limits=Limits(max_running_jobs=1))
    sweep = client.post("/v1/jobs", json=SWEEP, headers=mine).json()["id"]
    for _ in range(4):
        run_jobs()
    assert client.get(f"/v1/jobs/{sweep}", headers=mine).json()["status"] == "succeeded"


def test_the_next_job_follows_at_once_when_one_has_ended(client, make_key, run_jobs) -> None:
    jobs, queue = client.services.jobs, client.services.queue
    _, mine = make_key(owner="lab", limits=Limits(max_running_jobs=1))
    first, second = (client.post("/v1/jobs", json=JOB, headers=mine).json()["id"] for _ in range(2))
    held = jobs.claim(first, lease_seconds=60)
    run_jobs()
    assert jobs.get(second).status == "queued"
    assert jobs.release(first, token_of(held))
    client.services.queue._redis.flushall()  # its messages were taken
    queue.enqueue(first)
    run_jobs()
    assert queue.waiting() == {first, second}  # this broker's messages stay; a new one has come


def token_of(job: Job | None) -> str:
    assert job is not None
    assert job.lease_token is not None
    return job.lease_token
