"""A body on its way in: a local file that is hashed while it is written."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.errors import StorageFull

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StagedFile:
    """A body on its way in: hashed while it is written, gone when the block ends unless it was kept."""

    def __init__(self, folder: Path) -> None:
        with full_disk_told():
            descriptor, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Append; `StorageFull` when the disk is."""
        with full_disk_told():
            self._hash.update(block)
            view = memoryview(block)
            while view:
                view = view[self._file.write(view) :]
            self.size_bytes += len(block)

    def finish(self) -> None:
        """Make the content durable."""
        with full_disk_told():
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


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Turn what the system says of a full disk into words and a code."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(
                "storage_full", "The disk of the service is full. Nothing was kept; delete feature sets and send again."
            ) from error
        raise
