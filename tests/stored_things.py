"""A service's storage as the commands on it find it, with feature sets and finished jobs to put there."""

import json
import os
import subprocess
import sys
from pathlib import Path

from feature_files import feature_arrays, split, write_file

from jobs.settings import Settings
from jobs.store import NewJob
from server.storage import Storage


def add_features(storage: Storage, folder: Path, *, seed: int = 0, **options: object) -> str:
    """A whole set; its id."""
    with storage.blobs.files.stage() as staged:
        staged.write(write_file(folder / "file.safetensors", feature_arrays(seed=seed)).read_bytes())
        staged.finish()
        return storage.feature_sets.add_whole(staged, layer_order=None, **options)[0].id


def add_features_in_parts(storage: Storage, folder: Path, *, seed: int = 0) -> str:
    """A set of two parts."""
    row = storage.feature_sets.open_set(layer_order=None)
    for index, part in enumerate(split(feature_arrays(seed=seed), [50])):
        with storage.blobs.files.stage() as staged:
            staged.write(write_file(folder / "file.safetensors", part).read_bytes())
            staged.finish()
            storage.feature_sets.add_part(row.id, index, staged)
    return storage.feature_sets.complete(row.id).id


def add_job(storage: Storage, **changes: object) -> str:
    """A queued one."""
    command = {"kind": "train_dufm", "num_classes": 2, "depth": 2, "steps": 1}
    return storage.artifacts.jobs.create(NewJob(**{"kind": "train_dufm", "parameters": command, **changes}))[0].id


def finish(storage: Storage, job_id: str, content: bytes | None = None) -> None:
    """Run it to its end, with an artifact if there is a content for one."""
    jobs = storage.artifacts.jobs
    token = jobs.claim(job_id, lease_seconds=60).lease_token
    with storage.artifacts.of_running_job() as kept:
        if content is not None:
            kept.keep("table.csv", content)
        with kept.put_in_place() as files:
            body = json.dumps({"job": job_id})
            assert jobs.succeed(job_id, token, body=body, etag="e", measurements=[], artifacts=files)


def run_command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`collapse …` as an operator runs it."""
    secret = {"blob_access_key_id": "test", "blob_secret_access_key": "test"} if settings.blob_url else {}
    names = ("database_url", "blob_url", "blob_endpoint", "blob_region")
    values = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None} | secret
    environment = {f"COLLAPSE_{name.upper()}": str(value) for name, value in values.items()}
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments, "--data-dir", str(settings.data_dir)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
