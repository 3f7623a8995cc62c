"""an index that knows the layers of a run."""

from collections.abc import Sequence

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """One step forward."""
    op.create_index(
        "ix_measurements_run_metric_layer_step", "measurements", ["run", "metric", "layer", "step"], unique=False
    )
    op.drop_index("ix_measurements_run_metric_step", "measurements")


def downgrade() -> None:
    """The same step back."""
    op.create_index("ix_measurements_run_metric_step", "measurements", ["run", "metric", "step"], unique=False)
    op.drop_index("ix_measurements_run_metric_layer_step", "measurements")
