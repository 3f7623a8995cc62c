"""One tree, both databases: up, no drift, down, up again."""

from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from schema import alembic_config
from sqlalchemy import create_engine, inspect, text

from jobs.tables import Base


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found - {"alembic_version"}


def test_upgrade_gives_the_tables_without_drift(database_url: str) -> None:
    config = alembic_config(database_url)
    command.upgrade(config, "head")
    assert tables(database_url) == set(Base.metadata.tables)
    command.check(config)  # raises when a model and the database differ


def test_every_step_goes_down_and_up_again(database_url: str) -> None:
    config = alembic_config(database_url)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    for revision in reversed(revisions):
        command.upgrade(config, revision)
        command.downgrade(config, "-1")
        command.upgrade(config, revision)
    command.downgrade(config, "base")
    assert tables(database_url) == set()
    command.upgrade(config, "head")
    command.check(config)


def test_the_tree_has_one_head(database_url: str) -> None:
    assert len(ScriptDirectory.from_config(alembic_config(database_url)).get_heads()) == 1


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_every_constraint_has_a_name(table: str) -> None:
    assert all(constraint.name for constraint in Base.metadata.tables[table].constraints)


JOB = {"id": "'job_a'", "kind": "'k'", "status": "'queued'", "parameters": "'{}'", "tags": "'[]'", "version": "1",
       "created_at": "'2026-01-01 00:00:00'", "attempts": "0"}  # fmt: skip
ROWS = [
    f"INSERT INTO jobs ({', '.join(JOB)}) VALUES ({', '.join(JOB.values())})",
    "INSERT INTO job_tags (job_id, tag) VALUES ('job_a', 't')",
    "INSERT INTO reports (job_id, body, etag, created_at) VALUES ('job_a', '{}', 'e', '2026-01-01 00:00:00')",
    "INSERT INTO measurements (job_id, layer, metric, layer_index) VALUES ('job_a', 'l', 'm', 0)",
]


def test_every_step_up_and_down_keeps_the_rows(database_url: str) -> None:
    config, engine = alembic_config(database_url), create_engine(database_url)
    command.upgrade(config, "0001")
    with engine.begin() as connection:
        for row in ROWS:
            connection.execute(text(row))
    for move in (command.upgrade, command.downgrade, command.upgrade):
        move(config, "head" if move is command.upgrade else "0001")
        with engine.begin() as connection:
            for table in ("jobs", "job_tags", "reports", "measurements"):
                assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 1, (move, table)
    engine.dispose()


def test_a_migration_of_sqlite_that_leaves_rows_without_their_parent_is_undone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/database.db"
    config, engine = alembic_config(url), create_engine(url)
    command.upgrade(config, "0001")
    with engine.begin() as connection:  # this engine does not watch over foreign keys
        connection.execute(text(ROWS[1]))
    with pytest.raises(RuntimeError, match="stays as it was"):
        command.upgrade(config, "head")
    assert "artifacts" not in tables(url)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    engine.dispose()
