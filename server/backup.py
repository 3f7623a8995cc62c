"""`collapse backup`: the database, then every file that it refers to, into a folder that is always one whole backup.

While it is made nothing is removed from the store of files: what the copied rows refer to is still there when it is
copied. The files of the backup before are kept as far as they are still of use, so that only new ones are copied.
"""

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from jobs.errors import NotFound
from jobs.files import FileStore
from jobs.files.folder import sync
from jobs.store import BlobStore, Database
from server import postgresql
from server.errors import StartRefused
from server.manifest import BLOBS, Manifest
from server.migrate import revision_of
from server.storage import Storage, sqlite_file

RENEWAL_SECONDS = 3600.0


def back_up(storage: Storage, folder: Path) -> int:
    """Make or renew the backup in this folder: 0, or 1 if files were lost before it was made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder), _all_files_held(storage.blobs.store) as renew:
        name = f"database-{time.time_ns()}"
        digests = _copy_database(storage, folder / name)
        copied, lost = _copy_files(storage.blobs.files, digests, folder / BLOBS, renew)
        sync(folder)
        Manifest(
            database=name,
            kind=storage.database.engine.dialect.name,
            revision=revision_of(storage.database),
            service_version=version("collapse-service"),
            made_at=storage.database.now(),
            files=len(digests) - len(lost),
        ).write(folder)
        _remove_what_is_of_no_use(folder, name, set(digests))
    for sha256 in lost:
        print(f"file {sha256}: lost before this backup, see `collapse doctor`")
    print(f"backed up: the database and {len(digests) - len(lost)} files, of which {copied} were copied now")
    return 1 if lost else 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(f"Another backup into {folder} is being made. Wait for it, or name another.") from error
        yield


@contextmanager
def _all_files_held(store: BlobStore) -> Iterator[Callable[[], None]]:
    """Within the block nothing is removed, as long as what this gives is called now and then."""
    name, latest = store.hold_all(), time.monotonic()

    def renew() -> None:
        nonlocal latest
        if time.monotonic() - latest > RENEWAL_SECONDS:
            store.keep_holding(name)
            latest = time.monotonic()

    try:
        yield renew
    finally:
        store.release_all(name)


def _copy_database(storage: Storage, target: Path) -> Sequence[str]:
    """Copy it as it stands at one moment; the digests that this copy refers to."""
    file = sqlite_file(storage.settings)
    if file is None:
        return postgresql.dump(storage.database, storage.settings.database, target)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)  # in one step: a snapshot, which lets others go on writing
    sync(target)
    database = Database(f"sqlite:///{target}")
    try:
        return BlobStore(database).all_referenced()
    finally:
        database.close()
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)


def _copy_files(
    files: FileStore, digests: Sequence[str], folder: Path, renew: Callable[[], None]
) -> tuple[int, Sequence[str]]:
    """How many had to be copied, and which are not there."""
    sizes = {blob.sha256: blob.size_bytes for blob in files.blobs()}
    copied, lost = 0, []
    for sha256 in digests:
        renew()
        target = folder / sha256[:2] / sha256
        if target.is_file() and target.stat().st_size == sizes.get(sha256, target.stat().st_size):
            continue
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _copy(files, sha256, target)
            copied += 1
        except NotFound:
            lost.append(sha256)
    return copied, lost


def _copy(files: FileStore, sha256: str, target: Path) -> None:
    partial, digest = target.with_name(f"{sha256}.partial"), hashlib.sha256()
    try:
        with partial.open("wb") as copy:
            for block in files.read(sha256):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != sha256:
            raise NotFound("file_lost", f"The stored file {sha256} has other content than was stored.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _remove_what_is_of_no_use(folder: Path, database: str, digests: set[str]) -> None:
    for path in folder.glob("database-*"):
        if path.name != database:
            path.unlink()
    for path in (folder / BLOBS).glob("*/*"):
        if path.name not in digests:
            path.unlink()
