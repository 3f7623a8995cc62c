"""What a command may ask of the world while it runs (`analysis.commands.Surroundings`)."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from analysis.commands import ChildJob, FeaturesOutline
from jobs.artifacts import Artifacts, KeptFiles
from jobs.feature_sets import FeatureSets, OpenFeatures
from jobs.store import JobStore
from jobs.tables import SUCCEEDED, Job
from worker.lease import Lease


@dataclass
class Surroundings:
    """Of one job."""

    job_id: str
    run: str | None
    step: int | None
    device: str
    service_version: str
    spread_bytes: int | None
    feature_sets: FeatureSets
    jobs: JobStore
    artifacts: Artifacts
    lease: Lease
    kept: KeptFiles

    def outline_features(self, features_id: str) -> FeaturesOutline:
        """What is known of a feature set without its files."""
        return self.feature_sets.outline(self.feature_sets.store.get(features_id))

    def open_features(
        self, features_id: str, *, first_part: int = 0, stop_part: int | None = None
    ) -> AbstractContextManager[OpenFeatures]:
        """The files of a feature set, or of some of its parts."""
        return self.feature_sets.open(features_id, first_part=first_part, stop_part=stop_part)

    def artifact(self, job_id: str, name: str) -> Path | None:
        """Where a file lies that this job has just kept, or that any job has."""
        if job_id == self.job_id and (just_now := self.kept.path(name)):
            return just_now
        artifact = self.jobs.artifact(job_id, name)
        return self.kept.borrow(artifact) if artifact else None

    def previous_report(self) -> Mapping[str, Any] | None:
        """The report of the step before this one, if it has ended by now."""
        if self.run is None or self.step is None:
            return None
        body = self.jobs.previous_report(self.job_id)
        return None if body is None else json.loads(body)

    def children(self) -> Sequence[ChildJob]:
        """The jobs that this one is the parent of, in their order."""
        return Children(self.jobs, self.jobs.children(self.job_id))

    def keep_artifact(self, name: str, content: bytes) -> None:
        """Keep a file beside the report."""
        self.kept.keep(name, content)

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Tell how far the job is; raises when it must stop."""
        self.lease.progress(phase=phase, current=current, total=total)


class Children(Sequence[ChildJob]):
    """Each report is read when its job is looked at: a thousand of them at once would be gibibytes."""

    def __init__(self, jobs: JobStore, rows: Sequence[Job]) -> None:
        self._jobs, self._rows = jobs, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ChildJob: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ChildJob]: ...
    def __getitem__(self, index: int | slice) -> ChildJob | Sequence[ChildJob]:
        if isinstance(index, slice):
            return Children(self._jobs, self._rows[index])
        row = self._rows[index]
        return ChildJob(
            job_id=row.id,
            kind=row.kind,
            status=row.status,
            parameters=row.parameters,
            error_code=row.error_code,
            error_detail=row.error_detail,
            report=json.loads(self._jobs.report(row.id).body) if row.status == SUCCEEDED else None,
        )
