"""The blobs and their garbage: a blob stays while any row refers to it. Joins `files` and `store.blobs`."""

from collections.abc import Sequence

from jobs.files import FileStore
from jobs.store import BlobStore

MOST_AT_ONCE = 1000
"""Digests in one question: databases limit the parameters of a statement."""


class Blobs:
    """The blob folder, as those see it who let go of something in it."""

    def __init__(self, files: FileStore, store: BlobStore) -> None:
        self.files, self.store = files, store

    def remove_unreferenced(self, digests: Sequence[str]) -> int:
        """Remove those of these blobs that no row refers to; how many."""
        removed = 0
        for start in range(0, len(digests), MOST_AT_ONCE):
            some = digests[start : start + MOST_AT_ONCE]
            with self.files.removing():
                unreferenced = sorted(set(some) - self.store.referenced(some))
                self.files.remove(unreferenced)
            removed += len(unreferenced)
        return removed

    def collect_garbage(self, *, grace_seconds: float) -> int:
        """Remove blobs that no row refers to (left by a crash between file and row), and stale staged files."""
        removed = self.files.remove_stale_staged()
        return removed + self.remove_unreferenced(self.files.untouched(for_seconds=grace_seconds))
