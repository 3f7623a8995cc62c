"""Many at once: jobs, uploads, listeners, pollers. Nothing but 2xx, 429 and 503; bounded memory."""

import asyncio
import hashlib
import http.client
import json
import os
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from clients import at_once
from service_process import running_service, wait_for
from test_bad_files import peak_bytes
from work import small

JOBS, CLIENTS = 1_000, 50
UPLOADS, UPLOAD_BYTES = 100, 50 * 10**6
LISTENERS = 200
POLLERS = 4
POLL_PAUSE_SECONDS = 0.02
API_MEMORY_BYTES = 400 * 2**20
ACCEPTABLE = {429, 503}
CHUNK = 2**20


@pytest.fixture
def service(tmp_path):
    with running_service(tmp_path / "data", "--workers", "2") as service:
        yield service


def insist(client: httpx.Client, outcomes: Counter[int], method: str, path: str, **content) -> httpx.Response:
    """Send again after 429 and 503, which is all that may be answered but success."""
    while True:
        answer = client.request(method, path, **content)
        outcomes[answer.status_code] += 1
        if answer.status_code not in ACCEPTABLE:
            assert answer.is_success, answer.text
            return answer
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.2)


def test_a_thousand_jobs_from_fifty_clients_with_two_hundred_listeners(service, lot, figure) -> None:
    work, url, outcomes = small(lot), service.url(), Counter()
    with httpx.Client(base_url=url, timeout=60) as client:
        features = client.post("/v1/features", content=work.files[0]).json()["id"]

    def submit(number: int) -> list[str]:
        with httpx.Client(base_url=url, timeout=120) as client:
            bodies = [
                {**work.parameters, "features": features, "run": f"run {number}", "step": step}
                for step in range(JOBS // CLIENTS)
            ]
            return [insist(client, outcomes, "POST", "/v1/jobs", json=body).json()["id"] for body in bodies]

    started = time.monotonic()
    submitted = at_once(CLIENTS, submit)
    assert not [error for error in submitted if isinstance(error, Exception)], submitted
    jobs = [job for own in submitted for job in own]
    figure("jobs accepted", len(set(jobs)))
    figure("jobs accepted per second", len(jobs) / (time.monotonic() - started))
    polled = Pollers(url, jobs)
    polled.start()
    heard = asyncio.run(listen(url, [jobs[-1 - number % len(jobs)] for number in range(LISTENERS)]))
    wait_for(lambda: ended(url, jobs) == JOBS, "the end of every job", seconds=300)
    figure("jobs ended per second", len(jobs) / (time.monotonic() - started))
    seconds = polled.stop()
    figure("listeners that heard the end", sum(heard))
    figure("polls", len(seconds))
    figure("p50 of a poll, ms", float(np.percentile(seconds, 50)) * 1000)
    figure("p99 of a poll, ms", float(np.percentile(seconds, 99)) * 1000)
    figure("answers", dict(outcomes + polled.outcomes))
    figure("peak of the API's memory, MiB", peak_bytes(service.child("api")) / 2**20)
    assert len(set(jobs)) == JOBS
    assert heard == [True] * LISTENERS
    assert set(outcomes + polled.outcomes) <= {200, 202, *ACCEPTABLE}
    assert peak_bytes(service.child("api")) < API_MEMORY_BYTES


class Pollers:
    """Threads that ask how jobs stand, one after the other, and how long each answer took."""

    def __init__(self, url: str, jobs: list[str]) -> None:
        self._url, self._jobs, self._stop = url, jobs, threading.Event()
        self.outcomes: Counter[int] = Counter()
        self._seconds: list[float] = []
        self._threads = [threading.Thread(target=self._poll, args=(number,), daemon=True) for number in range(POLLERS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[float]:
        """End, and tell how long each poll took."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self._seconds

    def _poll(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.wait(POLL_PAUSE_SECONDS):
                number += POLLERS
                started = time.monotonic()
                answer = client.get(f"/v1/jobs/{self._jobs[number % len(self._jobs)]}")
                self._seconds.append(time.monotonic() - started)
                self.outcomes[answer.status_code] += 1


def ended(url: str, jobs: list[str]) -> int:
    """How many of the jobs have succeeded; none may fail."""
    found: Counter[str] = Counter()
    cursor = ""
    with httpx.Client(base_url=url, timeout=60) as client:
        while cursor is not None:
            page = client.get("/v1/jobs", params={"limit": 200, **({"cursor": cursor} if cursor else {})}).json()
            found.update(job["status"] for job in page["items"])
            cursor = page["next_cursor"]
    assert not found["failed"]
    assert not found["cancelled"]
    time.sleep(0.5)
    return found["succeeded"]


async def listen(url: str, jobs: list[str]) -> list[bool]:
    """Follow each job by its events to the end; whether each listener heard it, versions ascending."""
    return list(await asyncio.gather(*(_hear(url, job) for job in jobs)))


async def _hear(url: str, job: str) -> bool:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), 300)).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200"), answer[:300]
    versions = [int(line.removeprefix("id: ")) for line in answer.splitlines() if line.startswith("id: ")]
    assert versions == sorted(set(versions))
    last = [json.loads(line.removeprefix("data: ")) for line in answer.splitlines() if line.startswith("data: ")][-1]
    return bool(last["id"] == job and last["status"] == "succeeded")


def test_a_hundred_uploads_of_fifty_megabytes_in_parallel(service, lot, figure) -> None:
    url, chunk = service.url(), bytes(byte & 0x3F for byte in os.urandom(CHUNK))
    outcomes: Counter[int] = Counter()

    def upload(number: int) -> str:
        while True:
            status, digest, view = send_file(url, number, chunk)
            outcomes[status] += 1
            if status not in ACCEPTABLE:
                assert status == 201, view
                assert view["sha256"] == digest
                return str(view["id"])
            time.sleep(1)

    started = time.monotonic()
    uploaded = at_once(UPLOADS, upload)
    seconds = time.monotonic() - started
    peak = peak_bytes(service.child("api"))
    figure("MB per second, all together", UPLOADS * UPLOAD_BYTES / 1e6 / seconds)
    figure("answers", dict(outcomes))
    figure("peak of the API's memory, MiB", peak / 2**20)
    assert not [error for error in uploaded if isinstance(error, Exception)], uploaded[:3]
    assert len(set(uploaded)) == UPLOADS
    assert peak < API_MEMORY_BYTES
    with httpx.Client(base_url=url, timeout=120) as client:
        bodies = [{"kind": "measure_collapse", "features": features} for features in uploaded[:3]]
        jobs = [insist(client, outcomes, "POST", "/v1/jobs", json=body).json()["id"] for body in bodies]
        views = [client.get(f"/v1/jobs/{job}?wait=60").json() for job in jobs]
    assert {view["status"] for view in views} == {"succeeded"}


def send_file(url: str, number: int, chunk: bytes) -> tuple[int, str, dict]:
    """Stream a feature file of 50 MB that differs from the others: status, SHA-256, the answer."""
    dim = 256
    num_samples = UPLOAD_BYTES // (4 * dim)
    size = num_samples * dim * 4
    header = json.dumps(
        {
            "features.a": {"dtype": "F32", "shape": [num_samples, dim], "data_offsets": [0, size]},
            "labels": {"dtype": "U8", "shape": [num_samples], "data_offsets": [size, size + num_samples]},
        }
    ).encode()
    labels = (bytes(range(10)) * (num_samples // 10 + 1))[:num_samples]
    digest = hashlib.sha256()

    def body():
        yield len(header).to_bytes(8, "little") + header + number.to_bytes(4, "little")
        left = size - 4
        while left:
            yield chunk[: min(left, CHUNK)]
            left -= min(left, CHUNK)
        yield labels

    def hashed():
        for block in body():
            digest.update(block)
            yield block

    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=300)
    length = 8 + len(header) + size + num_samples
    connection.request("POST", "/v1/features", body=hashed(), headers={"Content-Length": str(length)})
    answer = connection.getresponse()
    view = json.loads(answer.read())
    connection.close()
    return answer.status, digest.hexdigest(), view


def test_the_figures_are_of_the_right_size() -> None:
    """The numbers that are promised, so that nobody makes this quicker without saying so."""
    assert (JOBS, CLIENTS, UPLOADS, UPLOAD_BYTES, LISTENERS) == (1000, 50, 100, 50_000_000, 200)
