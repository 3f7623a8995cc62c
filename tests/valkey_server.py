"""A real Valkey for tests, run as the service runs it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from server import embedded

START_SECONDS = 10.0


@contextmanager
def running_valkey(folder: Path, *, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a broker on a socket in `folder`, or on a port; gives its URL, as Celery wants it, and the process.

    It is ended at the end, also on failure, and when the tests themselves are killed. Its data stays in `folder`.
    """
    address = port or embedded.make_socket_path(folder)
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *embedded.command(embedded.find_binary(), folder=folder, address=address)],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = embedded.broker_url(address)
        _wait_until_ready(url, process)
        yield url, process
    finally:
        process.kill()
        process.wait()


def redis_client(url: str) -> redis.Redis:
    """The same broker for redis-py, which knows sockets by another scheme than Celery."""
    return redis.Redis.from_url(url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=", 1))


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis_client(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)


@contextmanager
def emptied(url: str) -> Iterator[None]:
    """Nothing is in the broker at the beginning, and nothing is left in it."""
    with redis_client(url) as client:
        client.flushall()
        yield
        client.flushall()
