"""The tables. `jobs` is the outbox and the truth: the broker carries ids only.

Metric, layer and kind are text, so that a new one needs no migration.
"""

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Names for every constraint: Alembic can only alter what has a name.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = (SUCCEEDED, FAILED, CANCELLED)
CPU, GPU, LARGE_CPU, LARGE_GPU = QUEUES = ("cpu", "gpu", "cpu-large", "gpu-large")
"""Classes of workers, and of jobs: by device, and by whether they need a worker with much memory."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: SQLite forgets the zone, PostgreSQL answers in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give every time its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def new_id(prefix: str) -> str:
    """An id that cannot be guessed: `<prefix>_` and 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Base(DeclarativeBase):
    """The one tree of tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: String(255),
        int: BigInteger(),
        float: Float(53),
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


OWNER_WITHOUT_KEYS = ""
"""Who owns what was made without a key, or with the operator's."""


def owner_column() -> Mapped[str]:
    """Whose a row is: nobody else sees it."""
    return mapped_column(default=OWNER_WITHOUT_KEYS, server_default=OWNER_WITHOUT_KEYS)


class ApiKey(Base):
    """A key of the API, as its digest; the key itself is shown once, when it is made."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    """the first characters of the key, by which people tell keys apart"""
    owner: Mapped[str] = mapped_column(index=True)
    """whose things its bearer sees and makes; several keys may be one owner's"""
    scopes: Mapped[list[Any]]
    """of read, write, admin"""
    note: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    max_bytes: Mapped[int | None]
    """of feature sets; like the limits of jobs, for all that the owner has, and without a limit if null"""
    max_queued_jobs: Mapped[int | None]
    max_running_jobs: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    """with this key alone"""


class AuditEntry(Base):
    """One change that somebody made, or was refused."""

    __tablename__ = "audit"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    owner: Mapped[str]
    key_id: Mapped[str | None]
    action: Mapped[str]
    """such as submit_job, delete_features, create_key"""
    object_id: Mapped[str | None] = mapped_column(index=True)
    status: Mapped[int | None]
    """of the answer, where it was a request"""
    request_id: Mapped[str | None]


class Worker(Base):
    """A worker process that is, or was lately, there."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    queues: Mapped[list[Any]]
    memory_bytes: Mapped[int]
    """what a job may need there"""
    seen_at: Mapped[datetime] = mapped_column(index=True)


class Blob(Base):
    """A file in the store, and whether somebody is just putting it there: only what nobody is may be removed.

    Whoever puts a blob in place claims it first, and lets go in the transaction that refers to it.
    """

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    claims: Mapped[int] = mapped_column(default=0)
    """those who are putting it in place; of one that died, until `claimed_until`"""
    claimed_until: Mapped[datetime]


class Features(Base):
    """A set of samples with their features: one whole file, or parts 0 … n−1."""

    __tablename__ = "features"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_column()
    status: Mapped[str]
    """open (parts may come) or ready"""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """of the file; of a set in parts: of its parts' digests, in order"""
    fingerprint: Mapped[str | None] = mapped_column(String(64), unique=True)
    """of content and layer order: the same upload again finds its row by it"""
    layer_order: Mapped[list[Any] | None]
    """as asked for; null means the file's own"""
    size_bytes: Mapped[int] = mapped_column(default=0)
    num_samples: Mapped[int] = mapped_column(default=0)
    class_counts: Mapped[dict[str, Any] | None]
    layers: Mapped[list[Any] | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class FeaturesPart(Base):
    """One stored file of a set; several rows may refer to one blob."""

    __tablename__ = "features_parts"

    features_id: Mapped[str] = mapped_column(ForeignKey("features.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column("part_index", primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int]
    description: Mapped[dict[str, Any]]
    """what the file holds: number of samples, class counts, layers"""


class Job(Base):
    """One job: the frozen command, where it stands, and who owns it at the moment."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_column()
    kind: Mapped[str] = mapped_column(index=True)
    status: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    features_id: Mapped[str | None] = mapped_column(ForeignKey("features.id", ondelete="SET NULL"), index=True)
    run: Mapped[str | None]
    step: Mapped[int | None]
    tags: Mapped[list[Any]]
    version: Mapped[int] = mapped_column(default=1)
    """counts the changes of the row: ETag of the view, id of its events"""
    queue: Mapped[str] = mapped_column(default=CPU, server_default=CPU)
    """for which class of workers"""
    memory_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    """what it will need at most, as far as can be told before it runs"""
    request_id: Mapped[str | None]
    """of the request that submitted it: its log lines carry it"""
    traceparent: Mapped[str | None]
    """of that request's span (W3C trace context)"""
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    """when it is deleted, once it has ended; never if null"""

    phase: Mapped[str | None]
    current: Mapped[int | None]
    total: Mapped[int | None]
    progress_at: Mapped[datetime | None]

    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    """when a message was last sent; null if none could be"""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    attempts: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None]
    """the fence: only the holder of the current token may write"""
    lease_expires_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None] = mapped_column(Text)

    idempotency_key: Mapped[str | None]
    idempotency_fingerprint: Mapped[str | None] = mapped_column(String(64))

    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    """the job that waits for this one"""
    child_index: Mapped[int | None]
    """its place among the children of its parent"""
    num_children: Mapped[int] = mapped_column(default=0, server_default="0")
    pending_children: Mapped[int] = mapped_column(default=0, server_default="0")
    """those that have not ended: while there are any, nobody can claim this job"""

    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("ix_jobs_owner_created_at_id", "owner", "created_at", "id"),
        # By owner first: whether others have a run of this name is no matter of time.
        Index("ix_jobs_owner_run", "owner", "run"),
        Index("ix_jobs_status_queued_at", "status", "queued_at"),
        Index("ix_jobs_status_lease_expires_at", "status", "lease_expires_at"),
    )


class JobTag(Base):
    """The tags of a job, one row each, for filtering."""

    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True, index=True)


class StoredReport(Base):
    """The report of a succeeded job, as the JSON text that users get."""

    __tablename__ = "reports"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    etag: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class Artifact(Base):
    """A file that a succeeded job left beside its report; several rows may refer to one blob."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int]
    media_type: Mapped[str]


class Measurement(Base):
    """One number of a report: the index for SQL and for series."""

    __tablename__ = "measurements"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    layer: Mapped[str] = mapped_column(String(512), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    layer_index: Mapped[int]
    owner: Mapped[str] = owner_column()
    run: Mapped[str | None]
    step: Mapped[int | None]
    value: Mapped[float | None]

    # In this order, what metrics and layers a run has is found by leaps, without reading its rows.
    __table_args__ = (Index("ix_measurements_owner_run_metric_layer_step", "owner", "run", "metric", "layer", "step"),)
