"""The blobs and their garbage: a blob stays while any row refers to it. Joins `files` and `store.blobs`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import structlog

from jobs.errors import Unavailable
from jobs.files import FileStore, StagedFile
from jobs.store import BlobStore

logger = structlog.get_logger()
MOST_AT_ONCE = 1000
"""Digests in one question: databases limit the parameters of a statement."""


class Blobs:
    """The store of files, as those see it who put something there or let go of it."""

    def __init__(self, files: FileStore, store: BlobStore) -> None:
        self.files, self.store = files, store

    @contextmanager
    def put_in_place(self, staged: Collection[StagedFile]) -> Iterator[None]:
        """Within the block the files lie in the store and are safe from the garbage, for a row to be written.

        The transaction that writes it lets go of the claims (`store.blobs.let_go`); a block that raises has written
        none.
        """
        digests = {file.sha256 for file in staged}
        self.store.claim(digests)
        try:
            for file in staged:
                self.files.keep(file)
            yield
        except BaseException:
            with suppress(Unavailable):  # then the claims run out by themselves
                self.store.release(digests)
            raise

    def discard(self, digests: Collection[str]) -> None:
        """Remove those of these blobs that no row refers to any more; what cannot be removed now, housekeeping will."""
        try:
            self.remove_unreferenced(digests)
        except Unavailable as error:
            logger.warning("files are left to housekeeping", code=error.code, files=len(digests))

    def remove_unreferenced(self, digests: Collection[str]) -> int:
        """Remove those of these blobs that no row refers to; how many."""
        return len(self.store.remove_unreferenced(digests, self.files.remove))

    def remove_garbage(self) -> int:
        """Remove what the database knows to be garbage, and stale staged files; how many. Does not list the store."""
        return self.files.remove_stale_staged() + self.remove_unreferenced(self.store.garbage())

    def collect_garbage(self, *, grace_seconds: float) -> int:
        """Likewise, and also what only a look into the store finds: noted now, it goes after the time of grace."""
        found = self.files.untouched(for_seconds=0)
        for start in range(0, len(found), MOST_AT_ONCE):
            self.store.mark(found[start : start + MOST_AT_ONCE], seconds=grace_seconds)
        return self.remove_garbage()
