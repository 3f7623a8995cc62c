"""What goes into the jobs table and comes out of it, apart from its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from jobs.tables import CPU, OWNER_WITHOUT_KEYS
from jobs.trail import Trail


@dataclass(frozen=True)
class NewJob:
    """What a job is made of. `features_id` is the feature set that the command reads, if any."""

    kind: str
    parameters: Mapping[str, Any]
    owner: str = OWNER_WITHOUT_KEYS
    queue: str = CPU
    memory_bytes: int = 0
    trail: Trail = field(default_factory=Trail)
    features_id: str | None = None
    run: str | None = None
    step: int | None = None
    tags: Sequence[str] = ()
    expires_in_seconds: float | None = None
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None
    children: Sequence["NewJob"] = ()
    """made with it; nobody can claim it until they have all ended"""


@dataclass(frozen=True)
class Filter:
    """Which jobs to list, of one owner; `after` is the (created_at, id) of the last one seen."""

    owner: str = OWNER_WITHOUT_KEYS
    status: str | None = None
    kind: str | None = None
    run: str | None = None
    tag: str | None = None
    parent: str | None = None
    query: str | None = None
    """in the name of the run or a tag, or the beginning of the id"""
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True)
class MeasurementRow:
    """One number of a report."""

    layer: str
    layer_index: int
    metric: str
    value: float | None


@dataclass(frozen=True)
class RunRow:
    """The jobs of one run, counted."""

    run: str
    num_jobs: int
    num_steps: int
    first_step: int | None
    last_step: int | None
    created_at: datetime
    updated_at: datetime
    """when a job of it was last made, started or ended"""
    jobs: Mapping[str, int]
    """status → number of jobs; what is zero is left out"""


class Analysis(NamedTuple):
    """One job of a run, in short."""

    job_id: str
    kind: str
    step: int | None
    status: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class RunContents:
    """What all reports of a run together have: layers by their index, metrics by name."""

    layers: Sequence[str]
    metrics: Sequence[str]


class SeriesRow(NamedTuple):
    """One number of a series."""

    run: str
    step: int | None
    layer: str
    layer_index: int
    metric: str
    value: float | None
    job_id: str


@dataclass(frozen=True)
class ArtifactFile:
    """A file beside a report; it lies in the blob folder under its digest."""

    name: str
    sha256: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Standing:
    """What the owner of a lease learns when it renews it."""

    lease_held: bool
    cancel_requested_at: datetime | None = None
