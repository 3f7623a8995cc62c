"""One tree, both databases: up, no drift, down, up again."""

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from schema import alembic_config
from sqlalchemy import create_engine, inspect

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
