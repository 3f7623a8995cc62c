"""A full disk under files and database: answers in words, nothing half-written, all well once there is room."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from feature_files import feature_arrays
from schema import migrated
from small_disk import SmallDisk, small_disk

JOB = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 1, "tags": ["t" * 60] * 30}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        yield disk


@pytest.mark.parametrize("make_database", ["sqlite"], indirect=True)
def test_a_disk_that_is_full(make_client, disk, file_of) -> None:
    url = migrated(f"sqlite:///{disk.folder}/database.db")
    client = make_client(data_dir=disk.folder / "data", database_url=url)
    files = client.services.feature_sets.files
    small, large = (file_of({"labels": np.arange(n) % 4, "features.a": np.ones((n, 256))}) for n in (500, 6000))
    assert len(large) > 8 * 2**20 > len(small)
    refused = client.post("/v1/features", content=large)
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert list(files.staging.iterdir()) == []
    assert list(files.blobs()) == []
    first = client.post("/v1/features", content=small).json()["id"]  # there is room again
    disk.fill()
    refused = client.post("/v1/features", content=file_of(feature_arrays()))
    assert (refused.status_code, refused.json()["code"]) in ((507, "storage_full"), (503, "database_unavailable"))
    for _ in range(500):
        answer = client.post("/v1/jobs", json=JOB)
        if answer.status_code != 202:
            break
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")  # that, too, is full at last
    assert client.get(f"/v1/features/{first}").status_code == 200
    assert list(files.staging.iterdir()) == []
    disk.make_room()
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    assert client.post("/v1/features", content=file_of(feature_arrays())).status_code == 201
