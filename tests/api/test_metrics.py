"""`/metrics` while its parts are away or hang: it tells what it knows, soon."""

import socket
import time
from collections.abc import Iterator

import pytest
from service_process import wait_for


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and never says a word, as a process does that was stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_what_hangs_is_told_as_away_and_keeps_nobody_waiting(make_client, silent_port) -> None:
    client = make_client(
        broker_url=f"redis://127.0.0.1:{silent_port}/0",
        database_url=f"postgresql+psycopg://nobody@127.0.0.1:{silent_port}/nothing",
    )
    client.get("/v1/jobs/job_x")
    for _ in range(2):
        asked = time.monotonic()
        told = client.get("/metrics").text
        assert time.monotonic() - asked < 5
        for part, up in (("database", 0.0), ("broker", 0.0), ("disk", 1.0)):
            assert f'collapse_up{{part="{part}"}} {up}' in told
        assert 'collapse_http_request_duration_seconds_count{method="GET",route="/v1/jobs/{job_id}"' in told
        assert "collapse_queue_depth" not in told
        assert "collapse_jobs{" not in told


def test_uploads_in_flight_are_counted_while_they_are(client) -> None:
    def body() -> Iterator[bytes]:
        yield b"x" * 4096
        wait_for(lambda: "collapse_uploads_in_flight 1.0" in client.get("/metrics").text, "the upload to be counted")
        yield b"x" * 4096

    assert client.post("/v1/features", content=body()).status_code == 415
    wait_for(lambda: "collapse_uploads_in_flight 0.0" in client.get("/metrics").text, "the upload to be gone")
