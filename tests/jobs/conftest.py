"""Stores on a migrated database, with a clock that the tests move."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from schema import migrated

from jobs.blobs import Blobs
from jobs.files import FileStore
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, NewJob, RepairStore


class MovableClock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def database(database_url: str, clock: MovableClock) -> Database:
    database = Database(migrated(database_url), clock=clock)
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def features(database: Database) -> FeaturesStore:
    return FeaturesStore(database)


@pytest.fixture
def repair(database: Database) -> RepairStore:
    return RepairStore(database)


@pytest.fixture
def blobs(database: Database, tmp_path: Path) -> Blobs:
    return Blobs(FileStore(tmp_path / "blobs"), BlobStore(database))


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    def make(**changes: object) -> NewJob:
        return NewJob(**{"kind": "measure_collapse", "parameters": {"kind": "measure_collapse"}, **changes})

    return make
