"""Artifacts: from what a command keeps to blobs and rows, from a job to its files. Joins `blobs` and `store.jobs`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from jobs.blobs import Blobs
from jobs.errors import Conflict, NotFound
from jobs.files import StagedFile
from jobs.store import ArtifactFile, JobStore
from jobs.tables import Artifact

MEDIA_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",  # none is registered
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Fits into an address and into a header as it is."""


class KeptFiles:
    """The artifacts of one running job: staged as they come, gone with the block unless `put_in_place` was used."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._staged: dict[str, StagedFile] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "KeptFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keep(self, name: str, content: bytes) -> None:
        """Write a file to the disk; `StorageFull` when that is. Raises ValueError for a name that cannot be."""
        if not NAME.fullmatch(name) or name in self._staged:
            raise ValueError(f"no name for an artifact, or one that is taken: {name!r}")
        staged = self._stack.enter_context(self._blobs.files.stage())
        staged.write(content)
        staged.finish()
        self._staged[name] = staged

    def path(self, name: str) -> Path | None:
        """Where a file that was kept lies; None if there is none of this name."""
        staged = self._staged.get(name)
        return staged.path if staged else None

    def borrow(self, artifact: Artifact) -> Path:
        """Where a file lies that some job has left, until this block ends."""
        return self._stack.enter_context(self._blobs.files.lend(artifact.sha256))

    @contextmanager
    def put_in_place(self) -> Iterator[Sequence[ArtifactFile]]:
        """Within the block the files lie under their digests and are safe from the garbage, for rows to be written."""
        with self._blobs.put_in_place(self._staged.values()):
            yield [
                ArtifactFile(
                    name=name,
                    sha256=staged.sha256,
                    size_bytes=staged.size_bytes,
                    media_type=MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
                )
                for name, staged in self._staged.items()
            ]


class Artifacts:
    """The artifacts of all jobs."""

    def __init__(self, jobs: JobStore, blobs: Blobs) -> None:
        self.jobs, self.blobs = jobs, blobs

    def of_running_job(self) -> KeptFiles:
        """Where the command of a running job may keep files."""
        return KeptFiles(self.blobs)

    def find(self, job_id: str, name: str) -> Artifact:
        """One artifact; `NotFound` tells which there are."""
        artifacts = {artifact.name: artifact for artifact in self.jobs.artifacts(job_id)}
        if name in artifacts:
            return artifacts[name]
        there = f"it has {', '.join(artifacts)}" if artifacts else f"it has none (kind {self.jobs.get(job_id).kind})"
        raise NotFound("artifact_not_found", f"Job {job_id} has no artifact {name[:64]!r}: {there}.")

    def lend(self, artifact: Artifact) -> AbstractContextManager[Path]:
        """Within the block it lies at this path."""
        return self.blobs.files.lend(artifact.sha256)

    def delete_job(self, job_id: str) -> None:
        """Remove an ended job and its children, with their blobs where nothing else refers to them."""
        self.blobs.discard(self.jobs.delete(job_id))

    def delete_expired_jobs(self) -> int:
        """Remove the ended jobs past their time, as `delete_job` does; how many."""
        deleted = 0
        for job_id in self.jobs.expired():
            with suppress(Conflict, NotFound):  # another worker was faster
                self.delete_job(job_id)
                deleted += 1
        return deleted
