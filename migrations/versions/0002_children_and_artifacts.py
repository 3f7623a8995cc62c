"""parents with children, artifacts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """One step forward."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("parent_id", sa.String(length=255), nullable=True))
        jobs.add_column(sa.Column("child_index", sa.BigInteger(), nullable=True))
        jobs.add_column(sa.Column("num_children", sa.BigInteger(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("pending_children", sa.BigInteger(), server_default="0", nullable=False))
        jobs.create_foreign_key(op.f("fk_jobs_parent_id"), "jobs", ["parent_id"], ["id"], ondelete="CASCADE")
        jobs.create_index(op.f("ix_jobs_parent_id"), ["parent_id"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_artifacts_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_artifacts")),
    )
    op.create_index(op.f("ix_artifacts_sha256"), "artifacts", ["sha256"], unique=False)


def downgrade() -> None:
    """The same step back."""
    op.drop_table("artifacts")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index(op.f("ix_jobs_parent_id"))
        jobs.drop_constraint(op.f("fk_jobs_parent_id"), type_="foreignkey")
        for name in ("pending_children", "num_children", "child_index", "parent_id"):
            jobs.drop_column(name)
