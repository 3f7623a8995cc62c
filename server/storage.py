"""The commands on what a service has stored: gc, doctor, backup, restore; and what they work with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.artifacts import Artifacts
    from jobs.blobs import Blobs
    from jobs.feature_sets import FeatureSets
    from jobs.settings import Settings
    from jobs.store import Database

    Run = Callable[[Settings, argparse.Namespace], int]
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

PATIENCE_SECONDS = 60.0
"""For an object store that does not answer: an operator can wait."""


def add_storage_commands(
    subparsers: Subparsers, add: Callable[[Subparsers, str, Run, str], argparse.ArgumentParser]
) -> None:
    """Add gc, doctor, backup and restore, by the way that all commands are added."""
    collect = add(subparsers, "gc", _collect, "Delete what has expired, and files that nothing refers to.")
    collect.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    doctor = add(subparsers, "doctor", _examine, "Look for what does not fit together in database, files and queue.")
    doctor.add_argument("--mend", action="store_true", help="mend what can be")
    doctor.add_argument("--content", action="store_true", help="read every file, and compare it with its digest")
    doctor.epilog = "Exit code 0: all is well (or mended); 1: something was found; 2: it could not look everywhere."
    backup = add(subparsers, "backup", _back_up, "Copy database and files into a folder; the service may go on.")
    restore = add(subparsers, "restore", _restore, "Put a backup into an empty data folder and database.")
    for parser in (backup, restore):
        parser.add_argument("folder", type=Path, metavar="DIR", help="of the backup")
    for parser in (collect, doctor, backup, restore):
        parser.add_argument(
            "--data-dir", type=Path, metavar="DIR", help="as of `collapse serve`; COLLAPSE_DATABASE_URL goes before it"
        )


@dataclass(frozen=True)
class Storage:
    """Database and files of a service, which may be running."""

    settings: Settings
    database: Database
    blobs: Blobs
    artifacts: Artifacts
    feature_sets: FeatureSets


@contextmanager
def opened_storage(settings: Settings) -> Iterator[Storage]:
    """Open both as the service does. Connects to nothing yet."""
    from jobs.artifacts import Artifacts
    from jobs.blobs import Blobs
    from jobs.feature_sets import FeatureSets
    from jobs.files import open_file_store
    from jobs.store import BlobStore, Database, FeaturesStore, JobStore

    database = Database(settings.database)
    try:
        blobs = Blobs(open_file_store(settings, patience_seconds=PATIENCE_SECONDS), BlobStore(database))
        yield Storage(
            settings=settings,
            database=database,
            blobs=blobs,
            artifacts=Artifacts(JobStore(database), blobs),
            feature_sets=FeatureSets(settings, FeaturesStore(database), blobs),
        )
    finally:
        database.close()


def placed(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings that `collapse serve` would have with these arguments."""
    from server.serve import folder_of

    return settings.model_copy(update={"data_dir": folder_of(settings, arguments.data_dir)})


def sqlite_file(settings: Settings) -> Path | None:
    """The file of the database, if it is one."""
    from sqlalchemy import make_url

    address = make_url(settings.database)
    return Path(address.database or "") if address.get_backend_name() == "sqlite" else None


@contextmanager
def _existing(settings: Settings, arguments: argparse.Namespace) -> Iterator[Storage]:
    """The storage of a service that has been there; what goes wrong is said in words."""
    from jobs.errors import JobsError
    from server.errors import CannotLook

    settings = placed(settings, arguments)
    file = sqlite_file(settings)
    if file is not None and not file.is_file():  # to connect would make it
        raise CannotLook(
            f"There is no database {file}. Name the data folder with --data-dir, or COLLAPSE_DATABASE_URL."
        )
    try:
        with opened_storage(settings) as storage:
            yield storage
    except JobsError as error:
        raise CannotLook(error.detail) from error


def _collect(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.gc import collect

    with _existing(settings, arguments) as storage:
        return collect(storage, dry_run=arguments.dry_run)


def _examine(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.doctor import examine

    with _existing(settings, arguments) as storage:
        return examine(storage, mend=arguments.mend, content=arguments.content)


def _back_up(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.backup import back_up

    with _existing(settings, arguments) as storage:
        return back_up(storage, arguments.folder)


def _restore(settings: Settings, arguments: argparse.Namespace) -> int:
    from jobs.errors import JobsError
    from server.errors import StartRefused
    from server.restore import restore

    try:
        return restore(placed(settings, arguments), arguments.folder)
    except JobsError as error:
        raise StartRefused(error.detail) from error
