"""Alembic's entry: knows `jobs.tables` and nothing else of ours. The URL comes from `collapse migrate`."""

from alembic import context
from sqlalchemy import Connection

from jobs.store.database import create_database_engine
from jobs.tables import Base

config = context.config


def include_name(name: str | None, kind: str, parents: object) -> bool:
    """Alembic's own table is not ours to compare."""
    return not (kind == "table" and name == "alembic_version")


def suspend_foreign_keys(connection: Connection) -> None:
    """On SQLite a table is altered by making it anew, and dropping the old one would empty those that refer to it.

    The setting takes hold outside a transaction only; it ends with the connection.
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver is not None:
        driver.execute("PRAGMA foreign_keys = OFF")


def check_foreign_keys(connection: Connection) -> None:
    """Raise, so that nothing is committed, if rows refer to rows that are not there."""
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise RuntimeError("the migration would leave rows that refer to nothing; the database stays as it was")


def run() -> None:
    """Migrate over one connection; batch mode, because SQLite cannot alter a table."""
    engine = create_database_engine(config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        suspend_foreign_keys(connection)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            transactional_ddl=True,  # SQLite can as well: the engine starts its transactions by itself
            compare_type=True,
            include_name=include_name,
        )
        with context.begin_transaction():
            context.run_migrations()
            check_foreign_keys(connection)
    engine.dispose()


run()
