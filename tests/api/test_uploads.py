"""Bodies that come slowly, break off, or come from many at once."""

import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
from feature_files import feature_arrays
from service_process import wait_for


def staged(client) -> list[str]:
    return [path.name for path in client.services.feature_sets.files.staging.iterdir()]


def begin_upload(client, body: bytes, *, announced: int) -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    head = f"POST /v1/features HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_sender_that_falls_silent_is_told_and_dropped(make_client, file_of) -> None:
    client = make_client(upload_idle_seconds=0.3)
    body = file_of(feature_arrays())
    with begin_upload(client, body[:100], announced=len(body)) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"upload_too_slow" in answer
    assert staged(client) == []


def test_an_upload_that_breaks_off_leaves_nothing(client, file_of) -> None:
    body = file_of(feature_arrays())
    with begin_upload(client, body[: len(body) // 2], announced=len(body)):
        wait_for(lambda: staged(client), "the staged file")
    wait_for(lambda: not staged(client), "its removal")
    assert client.services.feature_sets.files.untouched(for_seconds=-1) == []


def test_the_same_file_from_many_at_once_is_one_set(client, file_of) -> None:
    body = file_of(feature_arrays(num_samples=2000))

    def upload(_: int) -> httpx.Response:
        return httpx.post(f"{client.base_url}/v1/features", content=body, timeout=60)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert staged(client) == []


def test_a_compressed_body_is_refused_in_words(client, file_of) -> None:
    response = client.post("/v1/features", content=file_of(feature_arrays()), headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_format")
