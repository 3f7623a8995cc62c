"""Stores on a migrated database, with a clock that the tests move."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from object_store import ObjectStore

from jobs.blobs import Blobs
from jobs.files import open_file_store
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, MeasurementRow, NewJob, RepairStore, RunStore


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
def database(migrated_url: str, clock: MovableClock) -> Database:
    database = Database(migrated_url, clock=clock)
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def runs(database: Database) -> RunStore:
    return RunStore(database, owner="")


@pytest.fixture
def features(database: Database) -> FeaturesStore:
    return FeaturesStore(database)


@pytest.fixture
def repair(database: Database) -> RepairStore:
    return RepairStore(database)


@pytest.fixture
def blobs(migrated_url: str, database: Database, object_store: ObjectStore, tmp_path: Path) -> Blobs:
    """Beside SQLite a folder, as on one machine; beside PostgreSQL a real bucket, as on many."""
    bucket = {} if migrated_url.startswith("sqlite") else object_store.settings(object_store.bucket())
    return Blobs(open_file_store(Settings(data_dir=tmp_path, **bucket)), BlobStore(database))


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    def make(**changes: object) -> NewJob:
        return NewJob(**{"kind": "measure_collapse", "parameters": {"kind": "measure_collapse"}, **changes})

    return make


@pytest.fixture
def analyse(jobs: JobStore, new_job: Callable[..., NewJob], clock: MovableClock) -> Callable[..., str]:
    """A factory of jobs that have succeeded: their run and step, and {layer: {metric: value}}; their ids."""

    def make(run: str, step: int | None, layers: dict[str, dict[str, float | None]], **changes: object) -> str:
        clock.move(1)
        job, _ = jobs.create(new_job(run=run, step=step, **changes))
        claimed = jobs.claim(job.id, lease_seconds=10)
        assert claimed is not None
        rows = [
            MeasurementRow(layer, index, metric, value)
            for index, (layer, metrics) in enumerate(layers.items())
            for metric, value in metrics.items()
        ]
        clock.move(1)
        assert jobs.succeed(job.id, claimed.lease_token, body="{}", etag="e", measurements=rows)
        return job.id

    return make
