"""Blobs in a local (or shared) folder: one read-only file each, written beside its place, then moved there whole."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.files.staging import StagedFile, full_disk_told
from jobs.files.store import BLOCK_BYTES, FileStore, StoredBlob, lost


class FolderStore(FileStore):
    """Content-addressed files under one folder, which readers map as they lie."""

    def path(self, sha256: str) -> Path:
        """Where the blob with this digest lies."""
        return self.folder / sha256[:2] / sha256

    def keep(self, staged: StagedFile) -> None:
        """Move it to its place."""
        target = self.path(staged.sha256)
        with full_disk_told():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            staged.path.chmod(0o400)
            staged.path.replace(target)
            for folder in (target.parent, self.folder):
                sync(folder)

    @contextmanager
    def lend(self, sha256: str) -> Iterator[Path]:
        """Its own path: whoever has it open keeps it, even when it is removed."""
        path = self.path(sha256)
        if not path.exists():
            raise lost(sha256)
        yield path

    def read(self, sha256: str) -> Iterator[bytes]:
        """Read the file."""
        with self.lend(sha256) as path, path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def remove(self, digests: Sequence[str]) -> None:
        """Unlink the files."""
        for sha256 in digests:
            self.path(sha256).unlink(missing_ok=True)

    def blobs(self) -> Iterator[StoredBlob]:
        """List the folder."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):  # removed while we look
                status = path.stat()
                yield StoredBlob(path.name, status.st_size, status.st_mtime)


def sync(path: Path) -> None:
    """Make durable what is written in a file, or which files are in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
