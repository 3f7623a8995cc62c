"""What goes into the jobs table and comes out of it, apart from its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class NewJob:
    """What a job is made of. `features_id` is the feature set that the command reads, if any."""

    kind: str
    parameters: Mapping[str, Any]
    features_id: str | None = None
    run: str | None = None
    step: int | None = None
    tags: Sequence[str] = ()
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None
    children: Sequence["NewJob"] = ()
    """made with it; nobody can claim it until they have all ended"""


@dataclass(frozen=True)
class Filter:
    """Which jobs to list; `after` is the (created_at, id) of the last one seen."""

    status: str | None = None
    kind: str | None = None
    run: str | None = None
    tag: str | None = None
    parent: str | None = None
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True)
class MeasurementRow:
    """One number of a report."""

    layer: str
    layer_index: int
    metric: str
    value: float | None


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
