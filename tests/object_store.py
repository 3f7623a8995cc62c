"""A real S3 server for tests: moto's, as a process of its own."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from postgres import free_port
from service_process import wait_for

_numbers = count(1)


@dataclass
class ObjectStore:
    """A running server on 127.0.0.1 that lets everybody in."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self) -> str:
        """The URL of a fresh, empty place."""
        name = f"bucket-{next(_numbers)}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        return f"s3://{name}/some/prefix"

    def settings(self, url: str) -> dict[str, str]:
        """What `Settings` need to find the place."""
        return {
            "blob_url": url,
            "blob_endpoint": self.endpoint,
            "blob_access_key_id": "test",
            "blob_secret_access_key": "test",
            "blob_region": "us-east-1",
        }

    def environment(self, url: str) -> dict[str, str]:
        """The same for another process."""
        return {f"COLLAPSE_{name.upper()}": value for name, value in self.settings(url).items()}


@contextmanager
def running_object_store() -> Iterator[ObjectStore]:
    """Run a server; it is ended at the end, also on failure, and when the tests themselves are killed."""
    port = free_port()
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: process.poll() is not None or _answers(port), "the start of the object store")
        yield ObjectStore(port, process)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
