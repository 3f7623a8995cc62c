"""Uploads whose connection is cut at every 64 KiB, then resumed by parts: nothing half-done stays, all arrives."""

import hashlib
import random
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from feature_files import feature_arrays, split, write_file
from object_store import running_object_store
from service_process import running_service, wait_for

CUT_BYTES = 64 * 1024
PARTS = 4
RESET = struct.pack("ii", 1, 0)
"""The connection ends without a word, as when a machine loses its network."""


def send_and_cut(url: str, method: str, path: str, body: bytes, *, at: int, reset: bool) -> None:
    """Announce the whole body, send the beginning, and go."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        head = f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:at])


def files_of(tmp_path: Path, lot: random.Random) -> tuple[bytes, list[bytes]]:
    arrays = feature_arrays(num_samples=4000, num_classes=5, dims=(96, 64), seed=lot.randrange(2**32))
    bounds = [1000 * number for number in range(1, PARTS)]
    whole = write_file(tmp_path / "f.safetensors", arrays).read_bytes()
    return whole, [write_file(tmp_path / "f.safetensors", part).read_bytes() for part in split(arrays, bounds)]


@pytest.mark.parametrize("store", ["folder", "bucket"])
def test_cut_at_every_64_kib_and_resumed_by_parts(tmp_path, lot, figure, store) -> None:
    whole, parts = files_of(tmp_path, lot)
    staging = tmp_path / "data" / "blobs" / "staging"
    cuts = 0
    with running_object_store() as server:
        settings = server.environment(server.bucket()) if store == "bucket" else {}
        with (
            running_service(tmp_path / "data", **settings) as service,
            httpx.Client(base_url=service.url(), timeout=60) as http,
        ):
            for at in range(0, len(whole), CUT_BYTES):  # nobody can resume a whole file: nothing of it stays
                send_and_cut(service.url(), "POST", "/v1/features", whole, at=at, reset=lot.random() < 0.5)
                cuts += 1
            features = http.post("/v1/features?parts=open").json()["id"]
            for index, part in enumerate(parts):
                path = f"/v1/features/{features}/parts/{index}"
                for at in range(0, len(part), CUT_BYTES):
                    send_and_cut(service.url(), "PUT", path, part, at=at, reset=lot.random() < 0.5)
                    cuts += 1
                assert stored_bytes(http, features) == sum(map(len, parts[:index]))  # of this one, nothing
                assert http.put(path, content=part).status_code == 204
            ready = http.post(f"/v1/features/{features}/complete").json()
            digest = hashlib.sha256("".join(hashlib.sha256(part).hexdigest() for part in parts).encode()).hexdigest()
            assert (ready["status"], ready["num_samples"], ready["sha256"]) == ("ready", 4000, digest)
            same = http.post("/v1/features", content=whole)
            assert same.status_code == 201  # none of the beginnings was taken for it
            wait_for(lambda: not list(staging.iterdir()), "an empty staging folder")
            assert http.get("/v1/jobs").json()["items"] == []
            reports = [metrics_of(http, row) for row in (features, same.json()["id"])]
    assert np.allclose(*reports, rtol=1e-9, atol=0, equal_nan=True)
    figure("cuts", cuts)
    figure("MiB of file", len(whole) / 2**20)


def stored_bytes(http: httpx.Client, features: str) -> int:
    return int(http.get(f"/v1/features/{features}").json()["size_bytes"])


def metrics_of(http: httpx.Client, features: str) -> list[float]:
    body = {"kind": "measure_collapse", "features": features, "metrics": ["within_class_variability"]}
    job = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).json()
    assert job["status"] == "succeeded", job
    return [value for layer in job["report"]["layers"] for value in layer["metrics"].values()]
