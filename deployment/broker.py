"""A Valkey on a port of 127.0.0.1, run as the service runs its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from deployment.ports import free_port
from deployment.process import Process
from deployment.waiting import wait_until
from server import embedded


@contextmanager
def running_broker(folder: Path) -> Iterator[tuple[str, Process]]:
    """Run one with its data in `folder`; gives its URL and the process."""
    folder.mkdir()
    port = free_port()
    command = embedded.command(embedded.find_binary(), folder=folder, address=port)
    server = Process("valkey", command, {"PATH": os.defpath}, log=folder / "log")
    server.start()
    try:
        wait_until(lambda: _answers(port), "the start of Valkey", server)
        yield embedded.broker_url(port), server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
