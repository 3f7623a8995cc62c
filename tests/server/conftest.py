"""Services with stand-ins for API, worker and migration."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from object_store import ObjectStore
from service_process import Service, running_service

from jobs.settings import Settings
from server.storage import Storage, opened_storage

STAND_INS = (sys.executable, str(Path(__file__).with_name("stand_ins.py")))
StartService = Callable[..., Service]


@pytest.fixture
def start_stand_ins(tmp_path: Path) -> Iterator[StartService]:
    """A factory of `collapse serve` processes whose children are stand-ins; all on one data folder."""
    with ExitStack() as services:

        def start(*arguments: str, **settings: str) -> Service:
            settings.setdefault("STAND_IN_GRACE", "10")
            service = running_service(tmp_path / "data", *arguments, command=STAND_INS, **settings)
            return services.enter_context(service)

        yield start


@pytest.fixture
def storage(migrated_url: str, object_store: ObjectStore, tmp_path: Path) -> Iterator[Storage]:
    """Beside SQLite a folder, beside PostgreSQL a real bucket."""
    bucket = {} if migrated_url.startswith("sqlite") else object_store.settings(object_store.bucket())
    settings = Settings(data_dir=tmp_path / "data", database_url=migrated_url, **bucket)
    with opened_storage(settings) as storage:
        yield storage
