"""`collapse gc`: deletes what has expired, and files that nothing refers to; or prints what it would delete."""

from collections.abc import Iterable, Iterator
from itertools import islice

from jobs.blobs import MOST_AT_ONCE
from server.storage import Storage


def collect(storage: Storage, *, dry_run: bool) -> int:
    """Do it, and print each thing with its size; 0."""
    _delete_expired(storage, dry_run=dry_run)
    blobs, grace = storage.blobs, storage.settings.blob_grace_seconds
    sizes = {blob.sha256: blob.size_bytes for blob in blobs.files.blobs()}
    unknown = [sha256 for some in batches(sizes) for sha256 in blobs.store.unknown(some)]
    garbage = list(blobs.store.garbage())
    stale = {path.name: path.stat().st_size for path in blobs.files.stale_staged()}
    if not dry_run:
        for some in batches(unknown):
            blobs.store.mark(some, seconds=grace)
        garbage = blobs.store.remove_unreferenced(garbage, blobs.files.remove)
        blobs.files.remove_stale_staged()
    for sha256 in unknown:
        print(f"file {sha256}: {sizes[sha256]} bytes, unknown to the database: goes in {grace:g} s, if it still is")
    done = "would be removed" if dry_run else "removed"
    for sha256 in garbage:
        print(f"file {sha256}: {sizes.get(sha256, 0)} bytes, of no use any more: {done}")
    for name, size_bytes in stale.items():
        print(f"upload {name}: {size_bytes} bytes, left by a process that died: {done}")
    total = sum(sizes.get(sha256, 0) for sha256 in garbage) + sum(stale.values())
    print(f"{len(garbage) + len(stale)} files {done}, {total} bytes; {len(unknown)} marked or to be marked")
    return 0


def _delete_expired(storage: Storage, *, dry_run: bool) -> None:
    jobs, sets = storage.artifacts.jobs.expired(), storage.feature_sets.store.expired()
    done = "would be deleted" if dry_run else "deleted"
    if not dry_run:
        storage.artifacts.delete_expired_jobs()
    for job_id in jobs:
        print(f"job {job_id}: expired, {done}")
    for features_id in sets:
        size_bytes = storage.feature_sets.store.get(features_id).size_bytes
        print(f"feature set {features_id}: {size_bytes} bytes, expired, {done}")
    if not dry_run:
        storage.feature_sets.delete_expired()


def batches(digests: Iterable[str]) -> Iterator[list[str]]:
    """So many at once as fit into one question."""
    remaining = iter(digests)
    while some := list(islice(remaining, MOST_AT_ONCE)):
        yield some
