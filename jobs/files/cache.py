"""The local copies of blobs that lie in a bucket: a bounded folder that all processes of a host share.

Locks are the kernel's (flock), which a process that dies lets go of. A reader holds its copy shared for as long as it
uses it; whoever fetches or removes a copy holds it alone.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jobs.files.staging import full_disk_told
from jobs.files.store import lost

PARTIAL = ".partial"


class BlobCache:
    """At most `limit_bytes`, unless what is in use is more: the least recently used copies go first."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def lend(self, sha256: str, fetch: Callable[[], tuple[int, Iterable[bytes]]]) -> Iterator[Path]:
        """The path of the copy, which stays for the block; `fetch` gives size and content where there is none yet."""
        path = self.folder / sha256
        while (file := self._held(path) or self._fetched(path, fetch)) is None:
            pass  # another process fetched or removed it just now: look again
        with file:
            yield path

    def forget(self, digests: Iterable[str]) -> None:
        """Remove copies that nobody uses."""
        for sha256 in digests:
            _removed_unless_in_use(self.folder / sha256)

    def _held(self, path: Path) -> BinaryIO | None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink == 0:  # removed before we held it
            file.close()
            return None
        os.utime(path)  # what was used last goes last
        return file

    def _fetched(self, path: Path, fetch: Callable[[], tuple[int, Iterable[bytes]]]) -> BinaryIO | None:
        partial = path.with_name(path.name + PARTIAL)
        with full_disk_told():
            file = partial.open("ab+")
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if not _is(partial, file):  # who held it before us has fetched it, or given up
                file.close()
                return None
            size_bytes, blocks = fetch()
            self._make_room(size_bytes)
            with full_disk_told():
                _fill(file, blocks, path.name)
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            file.close()
            raise
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink == 0:
            file.close()
            return None
        return file

    def _make_room(self, size_bytes: int) -> None:
        copies = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process made room meanwhile
                status = path.stat()
                copies.append((status.st_mtime, status.st_size, path))
        total = size_bytes + sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total <= self.limit_bytes:
                return
            if _removed_unless_in_use(path):
                total -= size


def _removed_unless_in_use(path: Path) -> bool:
    # Gone already, or in use.
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    return False


def _is(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _fill(file: BinaryIO, blocks: Iterable[bytes], sha256: str) -> None:
    file.truncate(0)  # what a process that died has left
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        file.write(block)
    if digest.hexdigest() != sha256:
        raise lost(sha256)
    file.flush()
    os.fsync(file.fileno())
    os.fchmod(file.fileno(), 0o400)
