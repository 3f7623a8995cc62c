"""An S3 server on 127.0.0.1: moto's, which keeps what it is given until it ends."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployment.ports import free_port
from deployment.process import Process
from deployment.waiting import answers, wait_until

BUCKET = "collapse"
BUFFER_BYTES = 2**20
"""What is larger goes to the disk."""


@contextmanager
def running_storage(folder: Path, *, bucket: str | None = BUCKET) -> Iterator[tuple[dict[str, str], Process]]:
    """Run one, with a bucket unless that is None; gives the service's settings for it and the process."""
    folder.mkdir()
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.defpath,
        "TMPDIR": str(folder),
        "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(BUFFER_BYTES),
        "PYTHONWARNINGS": "ignore",
    }
    command: list[str | Path] = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    server = Process("storage", command, environment, log=folder / "log")
    server.start()
    try:
        wait_until(lambda: answers(f"{endpoint}/moto-api/"), "the start of the S3 server", server)
        if bucket is not None:
            httpx.put(f"{endpoint}/{bucket}").raise_for_status()
        yield (
            {
                "COLLAPSE_BLOB_URL": f"s3://{bucket}",
                "COLLAPSE_BLOB_ENDPOINT": endpoint,
                "COLLAPSE_BLOB_ACCESS_KEY_ID": secrets.token_hex(10),
                "COLLAPSE_BLOB_SECRET_ACCESS_KEY": secrets.token_hex(20),
                "COLLAPSE_BLOB_REGION": "us-east-1",
            },
            server,
        )
    finally:
        server.stop()
