"""The databases that the tests run on: fresh ones of both kinds, and a PostgreSQL that waits for no disk."""

from collections.abc import Callable

import pytest
from postgres import PostgresServer
from sqlalchemy import create_engine, inspect, text


def test_every_database_is_fresh(make_database: Callable[[], str]) -> None:
    for url in (make_database(), make_database()):
        engine = create_engine(url)
        assert inspect(engine).get_table_names() == []
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE leftover (id integer)"))
        engine.dispose()


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_postgresql_waits_for_no_disk(postgres: PostgresServer, setting: str) -> None:
    with postgres.database() as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text(f"SHOW {setting}")).scalar() == "off"
        engine.dispose()
