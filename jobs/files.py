"""The blob folder: one read-only file per SHA-256, written beside its place, then moved there whole."""

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.errors import StorageFull

STAGED_LIFETIME_SECONDS = 86400
"""No upload takes so long: an older staged file belongs to a process that died."""


class StagedFile:
    """A body on its way in: hashed while it is written, gone when the block ends unless it was kept."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, block: bytes | bytearray) -> None:
        """Append; `StorageFull` when the disk is."""
        with _full_disk_told():
            self._hash.update(block)
            view = memoryview(block)
            while view:
                view = view[self._file.write(view) :]
            self.size_bytes += len(block)

    def finish(self) -> None:
        """Make the content durable."""
        with _full_disk_told():
            os.fsync(self._file.fileno())
            self._file.close()

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class FileStore:
    """Content-addressed files under one folder.

    `referring()` is held from before a blob is put in place until the row that refers to it is committed, and
    `remove_unreferenced` works under the exclusive side of the same lock: no blob goes between those two moments.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging"
        self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)

    def stage(self) -> StagedFile:
        """A new file to write a body into."""
        with _full_disk_told():
            return StagedFile(self.staging)

    def path(self, sha256: str) -> Path:
        """Where the blob with this digest lies."""
        return self.folder / sha256[:2] / sha256

    def keep(self, staged: StagedFile) -> None:
        """Put a finished file in its place, durably; the same content twice is one file."""
        target = self.path(staged.sha256)
        with _full_disk_told():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            staged.path.chmod(0o400)
            staged.path.replace(target)
            for folder in (target.parent, self.folder):
                _sync_folder(folder)

    @contextmanager
    def referring(self) -> Iterator[None]:
        """Shared lock: blobs stay while a row that refers to one is being written."""
        with self._lock(fcntl.LOCK_SH):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Exclusive lock: nobody is about to refer to a blob."""
        with self._lock(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _lock(self, mode: int) -> Iterator[None]:
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, mode)
            yield

    def remove(self, digests: Sequence[str]) -> None:
        """Delete blobs; one that is gone already is no error."""
        for sha256 in digests:
            self.path(sha256).unlink(missing_ok=True)

    def untouched(self, *, for_seconds: float) -> list[str]:
        """The digests of blobs that were put there at least so long ago."""
        before = time.time() - for_seconds
        return [path.name for path in self.folder.glob("[0-9a-f][0-9a-f]/*") if _modified_before(path, before)]

    def remove_stale_staged(self) -> int:
        """Delete what dead processes left in the staging folder; how many files that were."""
        before = time.time() - STAGED_LIFETIME_SECONDS
        stale = [path for path in self.staging.iterdir() if _modified_before(path, before)]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


def _modified_before(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull(
                "storage_full", "The disk of the service is full. Nothing was kept; delete feature sets and send again."
            ) from error
        raise
