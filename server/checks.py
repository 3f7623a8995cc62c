"""The checks of the doctor. Each finding names its subject, says what is wrong, and may know how to mend it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from jobs.errors import Conflict, NotFound, Unavailable
from jobs.queue import Queue, create_celery
from jobs.settings import Settings
from jobs.store import CheckupStore, Reference, RepairStore, WrongCount
from server import embedded
from server.gc import batches
from server.storage import Storage

Mend = Callable[[], str | None]


@dataclass(frozen=True)
class Finding:
    """What is wrong with something; `mend` says what it did, or None if it could not."""

    subject: str
    detail: str
    mend: Mend | None = None


class FileChecks:
    """Rows against files, both ways."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.files, self.known = storage.blobs.files, storage.blobs.store
        self.checkup = CheckupStore(storage.database)

    def references(self, *, content: bool) -> Iterator[Finding]:
        """Every row that refers to a file finds one of its size, and with `content` of its digest."""
        rows = [(row, self._features_lost) for row in self.checkup.parts()]
        rows += [(row, self._artifact_lost) for row in self.checkup.artifacts()]
        sizes = {blob.sha256: blob.size_bytes for blob in self.files.blobs()}  # after the rows: files come first
        damaged: dict[str, str | None] = {}
        for row, lost in rows:
            if row.sha256 not in damaged:
                damaged[row.sha256] = self._damage(row, sizes.get(row.sha256), content=content)
            what = damaged[row.sha256]
            if what and row.sha256 in self.known.referenced([row.sha256]):  # and not deleted just now
                yield lost(row, what)

    def _damage(self, row: Reference, size_bytes: int | None, *, content: bool) -> str | None:
        if size_bytes is None:
            return "is not there"
        if size_bytes != row.size_bytes:
            return f"has {size_bytes} bytes in place of {row.size_bytes}"
        if content:
            digest = hashlib.sha256()
            try:
                for block in self.files.read(row.sha256):
                    digest.update(block)
            except NotFound:
                return "is not there"
            if digest.hexdigest() != row.sha256:
                return "has other content than was stored"
        return None

    def _features_lost(self, row: Reference, what: str) -> Finding:
        def mend() -> str | None:
            try:
                self.storage.feature_sets.delete(row.owner_id)
            except Conflict:
                return None  # a job still needs it, which will fail and say why
            except NotFound:
                return "deleted with its other parts"
            return "deleted: the same upload makes it anew"

        detail = f"its file {row.sha256} ({row.place}) {what}: it is lost, and jobs on it fail with file_lost"
        return Finding(f"feature set {row.owner_id}", detail, mend)

    def _artifact_lost(self, row: Reference, what: str) -> Finding:
        def mend() -> str:
            self.checkup.delete_artifact(row.owner_id, row.place)
            self.storage.blobs.discard([row.sha256])
            return "taken from the job, whose report stays"

        return Finding(f"artifact {row.place} of job {row.owner_id}", f"its file {row.sha256} {what}: it is lost", mend)

    def orphans(self) -> Iterator[Finding]:
        """Every file belongs to a row, or is about to."""
        blobs = {blob.sha256: blob for blob in self.files.blobs()}
        for some in batches(blobs):
            for sha256 in sorted(set(some) - self.known.referenced(some) - self.known.waiting(some)):
                yield Finding(
                    f"file {sha256}",
                    f"nothing refers to its {blobs[sha256].size_bytes} bytes",
                    partial(self._remove, sha256),
                )

    def _remove(self, sha256: str) -> str | None:
        return "removed" if self.storage.blobs.remove_unreferenced([sha256]) else None

    def stale_uploads(self) -> Iterator[Finding]:
        """Nothing lies in the staging folder that no process writes any more."""
        for path in self.files.stale_staged():

            def mend() -> str:
                self.files.remove_stale_staged()
                return "removed"

            yield Finding(f"upload {path.name}", "left half-done by a process that died", mend)


class JobChecks:
    """Jobs among themselves, and against the queue."""

    def __init__(self, storage: Storage) -> None:
        self.settings = storage.settings
        self.checkup, self.repair = CheckupStore(storage.database), RepairStore(storage.database)

    def database_itself(self) -> Iterator[Finding]:
        """SQLite finds its own file in order."""
        for complaint in self.checkup.complaints():
            yield Finding("database", f"{complaint}: restore a backup")

    def running_without_lease(self) -> Iterator[Finding]:
        """Whatever runs has somebody who answers for it."""

        def mend() -> str:
            self.checkup.end_leases()
            self.repair.expire_leases(max_attempts=self.settings.max_attempts)
            return "back in the queue, or ended"

        for job_id in self.checkup.running_without_lease():
            yield Finding(f"job {job_id}", "it says that it runs, and no worker answers for it", mend)

    def wrong_counts(self) -> Iterator[Finding]:
        """Parents wait for the children that they have."""
        for wrong in self.checkup.wrong_counts():
            detail = f"it waits for {wrong.counted} children, and {wrong.unfinished} have not ended"
            yield Finding(f"job {wrong.job_id}", detail, partial(self._correct, wrong))

    def _correct(self, wrong: WrongCount) -> str:
        self.checkup.set_count(wrong)
        return "corrected"

    def queued_without_message(self) -> Iterator[Finding]:
        """Whatever is queued has a message in the broker; a running service sends those that are lost."""
        url = broker_in_force(self.settings)
        if url is None:  # the broker starts with the service, whose first sweep sends what it has lost
            return
        queue = Queue(create_celery(url))
        try:
            candidates = self.repair.perhaps_unsent(older_than_seconds=self.settings.resend_after_seconds)
            waiting = queue.waiting()
            for job_id, name in candidates.items():
                if job_id not in waiting:
                    mend = partial(self._send, url, job_id, name)
                    yield Finding(f"job {job_id}", "it is queued, and its message is lost", mend)
        finally:
            queue.close()

    def _send(self, url: str, job_id: str, name: str) -> str:
        queue = Queue(create_celery(url))
        try:
            queue.enqueue(job_id, name)
        finally:
            queue.close()
        self.repair.mark_sent([job_id])
        return "sent again"


def broker_in_force(settings: Settings) -> str | None:
    """The broker that is set, or that of the service that runs in this data folder; None while none does."""
    if "broker_url" in settings.model_fields_set:
        return settings.broker_url
    url = embedded.broker_url(settings.data_dir / "broker" / "valkey.sock")
    queue = Queue(create_celery(url))
    try:
        queue.require_broker()
    except Unavailable:
        return None
    finally:
        queue.close()
    return url
