"""Clients that go on whatever happens, and remember what the service has accepted.

A request that got no answer, or 503, is sent again, as a client does that wants its work done: submissions under the
same Idempotency-Key. What was told must be true at the end.
"""

import hashlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from work import Work, bulk, draw

MOST_UNFINISHED = 12
"""Per client: beyond it, it waits for its jobs."""
EXPECTED = {200, 201, 202, 204, 304}


@dataclass
class Accepted:
    """What clients were told, and what nobody may answer."""

    jobs: dict[str, Work] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    """those whose cancel was answered 202, or might have been"""
    features: dict[str, list[str]] = field(default_factory=dict)
    """feature set → SHA-256 of each file that was accepted for it"""
    deleted: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    submissions: int = 0


class Impatient(Exception):
    """The load is to end; whatever was not answered by then was not accepted."""


class Clients:
    """A number of threads that upload, submit, look, cancel and delete until they are stopped."""

    def __init__(self, url: str, lot: random.Random, *, number: int) -> None:
        self.accepted, self._url, self._lock = Accepted(), url, threading.Lock()
        self._stop = threading.Event()
        lots = [random.Random(lot.getrandbits(64)) for _ in range(number)]
        self._threads = [threading.Thread(target=self._work, args=(own,), daemon=True) for own in lots]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End each after what it is just doing."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, lot: random.Random) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as client:
            own = _OneClient(client, self.accepted, self._lock, self._stop)
            try:
                while not self._stop.is_set():
                    own.do_something(lot)
            except Impatient:
                return
            except Exception as error:
                self.accepted.violations.append(f"a client fell over: {error!r}")


class _OneClient:
    def __init__(
        self, client: httpx.Client, accepted: Accepted, lock: threading.Lock, stopping: threading.Event
    ) -> None:
        self._client, self._accepted, self._lock, self._stopping = client, accepted, lock, stopping
        self._unfinished: list[str] = []

    def do_something(self, lot: random.Random) -> None:
        """Ask for one piece of work; now and then cancel a job, or delete features that are no longer needed."""
        self._submit(draw(lot))
        if self._unfinished and lot.random() < 0.2:
            self._cancel(lot.choice(self._unfinished))
        while len(self._unfinished) >= MOST_UNFINISHED:
            self._look(lot)
            if lot.random() < 0.1:
                features = self._upload((bulk(lot),))
                if lot.random() < 0.7:
                    self._delete_features(features)
            if self._stopping.wait(0.1):
                raise Impatient

    def _submit(self, work: Work) -> None:
        key = uuid.uuid4().hex
        features = None
        if work.files:
            features = self._upload(work.files)
        body = {**work.parameters, **({"features": features} if features else {})}
        answer = self._insist("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
        job = answer.json()["id"]
        with self._lock:
            self._accepted.submissions += 1
            self._accepted.jobs[job] = work
        self._unfinished.append(job)

    def _upload(self, files: tuple[bytes, ...]) -> str:
        if len(files) == 1:
            features = str(self._insist("POST", "/v1/features", content=files[0]).json()["id"])
            self._remember(features, files[0])
            return features
        features = str(self._insist("POST", "/v1/features?parts=open").json()["id"])
        for index, content in enumerate(files):
            self._insist("PUT", f"/v1/features/{features}/parts/{index}", content=content)
            self._remember(features, content)
        self._insist("POST", f"/v1/features/{features}/complete")
        return features

    def _remember(self, features: str, content: bytes) -> None:
        with self._lock:
            self._accepted.features.setdefault(features, []).append(hashlib.sha256(content).hexdigest())

    def _cancel(self, job: str) -> None:
        with self._lock:
            self._accepted.cancelled.add(job)
        self._insist("POST", f"/v1/jobs/{job}/cancel", also={409})

    def _look(self, lot: random.Random) -> None:
        for job in list(self._unfinished):
            view = self._insist("GET", f"/v1/jobs/{job}").json()
            if view["status"] in ("succeeded", "failed", "cancelled"):
                self._unfinished.remove(job)
                if view["status"] == "succeeded" and "features" in view["parameters"] and lot.random() < 0.2:
                    self._delete_features(view["parameters"]["features"])

    def _delete_features(self, features: str) -> None:
        with self._lock:
            self._accepted.deleted.add(features)
        self._insist("DELETE", f"/v1/features/{features}", also={404})  # 404: deleted by the try that got no answer

    def _insist(self, method: str, path: str, *, also: set[int] = frozenset(), **content: Any) -> httpx.Response:  # type: ignore[assignment]
        """Send until there is an answer other than 503."""
        while True:
            started = time.monotonic()
            try:
                answer = self._client.request(method, path, **content)
            except httpx.HTTPError as error:
                self._count(type(error).__name__)
            else:
                self._count(str(answer.status_code))
                if answer.status_code in EXPECTED | also:
                    return answer
                self._judge(answer, method, path, time.monotonic() - started)
            if self._stopping.wait(0.1):
                raise Impatient

    def _judge(self, answer: httpx.Response, method: str, path: str, seconds: float) -> None:
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            told = f"{method} {path}: {answer.status_code} {answer.text[:300]} after {seconds:.1f} s"
            with self._lock:
                self._accepted.violations.append(told)

    def _count(self, outcome: str) -> None:
        with self._lock:
            self._accepted.answers[outcome] += 1


def at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    """Call `act(0)` … `act(number - 1)` in as many threads; what they gave, or raised, in order."""
    results: list[Any] = [None] * number

    def call(index: int) -> None:
        try:
            results[index] = act(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
