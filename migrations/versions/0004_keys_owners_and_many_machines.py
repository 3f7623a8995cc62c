"""keys, owners, queues, and what several machines must know of each other."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """One step forward."""
    for name in ("features", "measurements"):
        op.add_column(name, _owner())
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(_owner())
        jobs.add_column(sa.Column("queue", sa.String(length=255), server_default="cpu", nullable=False))
        jobs.add_column(sa.Column("memory_bytes", sa.BigInteger(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("request_id", sa.String(length=255), nullable=True))
        jobs.add_column(sa.Column("traceparent", sa.String(length=255), nullable=True))
        jobs.add_column(sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
        jobs.create_index(op.f("ix_jobs_expires_at"), ["expires_at"], unique=False)
        jobs.create_index("ix_jobs_owner_created_at_id", ["owner", "created_at", "id"], unique=False)
        jobs.drop_index("ix_jobs_created_at_id")
        jobs.create_index("ix_jobs_owner_run", ["owner", "run"], unique=False)
        jobs.drop_index(op.f("ix_jobs_run"))
        jobs.drop_constraint(op.f("uq_jobs_idempotency_key"), type_="unique")
        jobs.create_unique_constraint(op.f("uq_jobs_owner_idempotency_key"), ["owner", "idempotency_key"])
    op.create_index(
        "ix_measurements_owner_run_metric_layer_step",
        "measurements",
        ["owner", "run", "metric", "layer", "step"],
        unique=False,
    )
    op.drop_index("ix_measurements_run_metric_layer_step", "measurements")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("note", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_queued_jobs", sa.BigInteger(), nullable=True),
        sa.Column("max_running_jobs", sa.BigInteger(), nullable=True),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_index(op.f("ix_api_keys_owner"), "api_keys", ["owner"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("key_id", sa.String(length=255), nullable=True),
        sa.Column("action", sa.String(length=255), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_object_id"), "audit", ["object_id"], unique=False)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("device", sa.String(length=255), nullable=False),
        sa.Column("queues", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_seen_at"), "workers", ["seen_at"], unique=False)
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("claims", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )


def downgrade() -> None:
    """The same step back: what belongs to an owner belongs to everybody again."""
    for name in ("blobs", "workers", "audit", "api_keys"):
        op.drop_table(name)
    op.create_index(
        "ix_measurements_run_metric_layer_step", "measurements", ["run", "metric", "layer", "step"], unique=False
    )
    op.drop_index("ix_measurements_owner_run_metric_layer_step", "measurements")
    # Two owners may have used the same key, which was unique among all before.
    op.execute("UPDATE jobs SET idempotency_key = NULL, idempotency_fingerprint = NULL WHERE owner <> ''")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_constraint(op.f("uq_jobs_owner_idempotency_key"), type_="unique")
        jobs.create_unique_constraint(op.f("uq_jobs_idempotency_key"), ["idempotency_key"])
        jobs.create_index(op.f("ix_jobs_run"), ["run"], unique=False)
        jobs.drop_index("ix_jobs_owner_run")
        jobs.create_index("ix_jobs_created_at_id", ["created_at", "id"], unique=False)
        jobs.drop_index("ix_jobs_owner_created_at_id")
        jobs.drop_index(op.f("ix_jobs_expires_at"))
        for name in ("expires_at", "traceparent", "request_id", "memory_bytes", "queue", "owner"):
            jobs.drop_column(name)
    for name in ("measurements", "features"):
        with op.batch_alter_table(name) as table:
            table.drop_column("owner")


def _owner() -> sa.Column[str]:
    return sa.Column("owner", sa.String(length=255), server_default="", nullable=False)
