"""Alembic's entry: knows `jobs.tables` and nothing else of ours. The URL comes from `collapse migrate`."""

from alembic import context

from jobs.store.database import create_database_engine
from jobs.tables import Base

config = context.config


def include_name(name: str | None, kind: str, parents: object) -> bool:
    """Alembic's own table is not ours to compare."""
    return not (kind == "table" and name == "alembic_version")


def run() -> None:
    """Migrate over one connection; batch mode, because SQLite cannot alter a table."""
    engine = create_database_engine(config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            include_name=include_name,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
