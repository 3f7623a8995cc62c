"""Senders that trickle, say nothing, or send headers without end are dropped in time; the others do not notice."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from clients import at_once
from service_process import running_service

TRICKLE_SECONDS = 0.5
SENDERS_EACH = 5
SECONDS = 25.0
"""For headers 15; for bodies the setting below and what a kilobyte a second earns."""
SETTINGS = {"COLLAPSE_UPLOAD_IDLE_SECONDS": "5"}
START = b"POST /v1/features HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
FIRST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
JSON_START = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

SLOW: dict[str, tuple[bytes, bytes]] = {
    "nothing at all": (b"", b""),
    "trickled headers": (b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"a"),
    "trickled headers of a second request": (FIRST + b"GET /v1/jobs HTTP/1.1\r\nX: ", b"a"),
    "a trickled file": (START + b"\x10\0\0\0\0\0\0\0{", b" "),
    "a file that stops": (START + b"\x10\0\0\0\0\0\0\0{", b""),
    "a trickled JSON body": (JSON_START + b'{"kind": "', b"a"),
}  # fmt: skip


@pytest.fixture
def url(tmp_path):
    with running_service(tmp_path / "data", **SETTINGS) as service:
        yield service.url()


def test_slow_senders_are_dropped_and_the_others_do_not_notice(url, figure) -> None:
    cases = [case for case in SLOW.items() for _ in range(SENDERS_EACH)]

    def send(number: int) -> float | None:
        start, trickle = cases[number][1]
        return seconds_until_dropped(url, start, trickle)

    waits: list[float] = []

    def look(_: int) -> None:
        for _ in range(40):
            started = time.monotonic()
            assert httpx.get(f"{url}/v1/jobs", timeout=20).status_code == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.2)

    acts: list[Callable[[int], float | None]] = [send] * len(cases)
    results = at_once(len(cases) + 1, lambda number: acts[number](number) if number < len(cases) else look(number))
    for name in SLOW:
        figure(
            f"{name}: dropped after, s",
            max(seconds or 99.0 for (own, _), seconds in zip(cases, results, strict=False) if own == name),
        )
    assert not [result for result in results if isinstance(result, Exception)], results
    assert all(seconds is not None and seconds < SECONDS for seconds in results[:-1]), results
    figure("slowest answer to somebody else, s", max(waits))


def seconds_until_dropped(url: str, start: bytes, trickle: bytes) -> float | None:
    """How long the service bears with this sender; None if longer than it should."""
    where = urlsplit(url)
    with socket.create_connection((str(where.hostname), where.port or 80)) as connection:
        connection.settimeout(TRICKLE_SECONDS)
        began = time.monotonic()
        try:
            connection.sendall(start)
            while time.monotonic() - began < 2 * SECONDS:
                if trickle:
                    connection.sendall(trickle)
                try:
                    if not connection.recv(65536):
                        return time.monotonic() - began
                except TimeoutError:
                    continue
        except (BrokenPipeError, ConnectionResetError):
            return time.monotonic() - began
    return None


@pytest.mark.parametrize("shape", ["one header", "many headers", "a long address"])
def test_huge_headers_are_refused_before_they_are_taken_in(url, figure, shape) -> None:
    where = urlsplit(url)
    sent = 0
    beginning = {"one header": b"X: ", "many headers": b"", "a long address": b""}[shape]
    piece = {"one header": b"a" * 4096, "many headers": b"X: a\r\n" * 700, "a long address": b"a" * 4096}[shape]
    line = b"GET /" if shape == "a long address" else b"GET / HTTP/1.1\r\nHost: a\r\n"
    with socket.create_connection((str(where.hostname), where.port or 80)) as connection:
        connection.settimeout(10)
        answer = b""
        try:
            connection.sendall(line + beginning)
            while sent < 64 * 2**20 and not answer:
                connection.sendall(piece)
                sent += len(piece)
                connection.setblocking(False)
                with suppress(BlockingIOError):  # no answer yet
                    answer = connection.recv(65536)
                connection.settimeout(10)
        except (BrokenPipeError, ConnectionResetError):
            answer = answer or b"reset"
    figure("bytes sent before the refusal", sent)
    assert answer
    assert sent < 8 * 2**20
    assert answer == b"reset" or b" 400 " in answer.split(b"\r\n")[0]
    assert httpx.get(f"{url}/healthz").status_code == 200
