"""Requests a minute: counted in the broker, for all API processes together; without a broker nobody is limited."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from valkey_server import running_valkey

from jobs.keys import Limits


def rate(response) -> tuple[int, int]:
    """Requests that remain, and seconds until there are more, as the headers have it."""
    found = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    assert found
    return int(found[1]), int(found[2])


def test_a_key_is_limited_by_all_processes_together(make_client, make_key) -> None:
    one, other = make_client(), make_client()
    _, limited = make_key(client=one, limits=Limits(requests_per_minute=3))
    _, free = make_key(client=one)
    answers = [client.get("/v1/jobs", headers=limited) for client in (one, other, one, other, one)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [rate(answer)[0] for answer in answers] == [2, 1, 0, 0, 0]
    assert all(answer.headers["ratelimit-policy"] == '"requests";q=3;w=60' for answer in answers)
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) == rate(refused)[1] <= 60
    assert "3 requests a minute" in refused.json()["detail"]
    unlimited = one.get("/v1/jobs", headers=free)
    assert unlimited.status_code == 200
    assert "ratelimit" not in unlimited.headers


def test_by_setting_all_are_limited_and_without_keys_by_address(make_client, make_key) -> None:
    client = make_client(requests_per_minute=2)
    assert [client.get("/v1/catalogue").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/healthz").status_code == 200
    _, default = make_key(client=client)
    _, own = make_key(client=client, limits=Limits(requests_per_minute=4))
    assert [client.get("/v1/jobs", headers=default).status_code for _ in range(3)] == [200, 200, 429]
    assert [client.get("/v1/jobs", headers=own).status_code for _ in range(5)] == [200, 200, 200, 200, 429]
    # Guesses are counted by their address, too.
    assert client.get("/v1/jobs", headers={"Authorization": "Bearer guess"}).status_code == 429


@pytest.mark.parametrize("trouble", ["nobody listens", "frozen"])
def test_a_broker_that_is_away_limits_nobody_and_delays_nobody(make_client, make_key, tmp_path: Path, trouble) -> None:
    with running_valkey(tmp_path) as (url, process), socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        client = make_client(requests_per_minute=1, broker_url=url if trouble == "frozen" else nobody)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answers = [client.get("/v1/jobs") for _ in range(10)]
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert time.monotonic() - began < 5
        assert {answer.status_code for answer in answers} == {200}
        assert not any("ratelimit" in answer.headers for answer in answers)
