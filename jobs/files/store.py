"""What every store of blobs can do."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import NotFound
from jobs.files.staging import StagedFile

STAGED_LIFETIME_SECONDS = 86400
"""No upload takes so long: an older staged file belongs to a process that died."""
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class StoredBlob:
    """What a store tells of a blob without reading it; `modified_at` is in seconds since 1970."""

    sha256: str
    size_bytes: int
    modified_at: float


class FileStore(ABC):
    """Blobs by their SHA-256. Bodies are staged in `folder`/staging, whatever store they end in.

    Who puts a blob in place claims it first (`jobs.blobs`): only then it cannot be removed as garbage before a row
    refers to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging"
        self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)

    @abstractmethod
    def keep(self, staged: StagedFile) -> None:
        """Put a finished file in its place, durably; the same content twice is one blob."""

    @abstractmethod
    def lend(self, sha256: str) -> AbstractContextManager[Path]:
        """Within the block the blob lies at this local path. Raises `NotFound` if it is lost."""

    @abstractmethod
    def read(self, sha256: str) -> Iterator[bytes]:
        """The blob, block by block, as the store has it now. Raises `NotFound` if it is lost."""

    @abstractmethod
    def remove(self, digests: Sequence[str]) -> None:
        """Delete blobs; one that is gone already is no error."""

    @abstractmethod
    def blobs(self) -> Iterator[StoredBlob]:
        """Every blob that is there."""

    def stage(self) -> StagedFile:
        """A new file to write a body into."""
        return StagedFile(self.staging)

    def untouched(self, *, for_seconds: float) -> list[str]:
        """The digests of blobs that were put there at least so long ago."""
        before = time.time() - for_seconds
        return [blob.sha256 for blob in self.blobs() if blob.modified_at < before]

    def stale_staged(self) -> list[Path]:
        """What dead processes left in the staging folder."""
        before = time.time() - STAGED_LIFETIME_SECONDS
        return [path for path in self.staging.iterdir() if modified_before(path, before)]

    def remove_stale_staged(self) -> int:
        """Delete what dead processes left in the staging folder; how many files that were."""
        stale = self.stale_staged()
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


def modified_before(path: Path, moment: float) -> bool:
    """Whether a file is there and older."""
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def lost(sha256: str) -> NotFound:
    """The same words wherever a blob should be and is not."""
    return NotFound(
        "file_lost",
        f"The stored file {sha256} is lost, though it is still referred to. Upload the same bytes again, or run the "
        "job that left it again; the operator can restore a backup (`collapse doctor` lists what is lost).",
    )
