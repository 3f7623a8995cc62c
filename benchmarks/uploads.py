"""Uploads over loopback to a running service: our client and curl, against httpx with one bytes object."""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from collapse_client import Client, write_features

MEBIBYTE = 2**20
LARGE, SMALL = 256 * MEBIBYTE, 32 * MEBIBYTE
DIM = 1024


def main(options: Sequence[str] | None = None) -> None:
    """Print MB/s of each way, its ratio to the naive one, and the memory that the API took at its peak."""
    argparse.ArgumentParser(prog="python -m benchmarks uploads", description=__doc__).parse_args(options)
    with tempfile.TemporaryDirectory() as scratch, running_service(Path(scratch)) as (url, pid):
        print(f"uploads over loopback: {LARGE // MEBIBYTE} MiB ({SMALL // MEBIBYTE} MiB for one bytes object)")
        speeds = {
            "httpx, one bytes object": _speed(_post_bytes, url, Path(scratch), SMALL),
            "collapse_client": _speed(_post_with_client, url, Path(scratch), LARGE),
        }
        if shutil.which("curl"):
            speeds["curl"] = _speed(_post_with_curl, url, Path(scratch), LARGE)
        naive = speeds["httpx, one bytes object"]
        for name, speed in speeds.items():
            print(f"  {name:<26}{speed:8.0f} MB/s{speed / naive:8.1f} ×")
        print(f"  peak resident memory of the API: {_peak_mib(pid):.0f} MiB")


@contextmanager
def running_service(folder: Path) -> Iterator[tuple[str, int]]:
    """Run `collapse serve` on a free port; gives its address and the process id of its API."""
    command = [sys.executable, "-m", "server", "serve", "--port", "0", "--data-dir", str(folder / "service")]
    log = folder / "service.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        [pid] = re.findall(r'"child": "api", "pid": (\d+)', log.read_text())
        yield address, int(pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _speed(post: Callable[[str, Path], None], url: str, folder: Path, size: int) -> float:
    path = folder / "features.safetensors"
    rows = size // (4 * DIM)
    # Other values each time: the same bytes again would be a duplicate.
    features = np.random.default_rng().random((rows, DIM), dtype=np.float32)
    write_features(path, labels=np.arange(rows) % 10, features={"a": features})
    started = time.perf_counter()
    post(url, path)
    return path.stat().st_size / 1e6 / (time.perf_counter() - started)


def _post_bytes(url: str, path: Path) -> None:
    httpx.post(f"{url}/v1/features", content=path.read_bytes(), timeout=600).raise_for_status()


def _post_with_client(url: str, path: Path) -> None:
    with Client(url) as client:
        client.upload(path)


def _post_with_curl(url: str, path: Path) -> None:
    subprocess.run(["curl", "-sf", "-X", "POST", "-T", path, "-o", "/dev/null", f"{url}/v1/features"], check=True)


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
