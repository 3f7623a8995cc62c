"""`collapse restore`: a backup into an empty data folder and database, the files first."""

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sqlalchemy import inspect

from jobs.files import FileStore
from jobs.settings import Settings
from jobs.store.database import unavailable_when_away
from server import postgresql
from server.errors import StartRefused
from server.lock import DataFolderLock
from server.manifest import BLOBS, Manifest
from server.migrate import migrate
from server.storage import Storage, opened_storage, sqlite_file


def restore(settings: Settings, folder: Path) -> int:
    """Do it, and bring the database to the service's schema; 0.

    Raises:
        StartRefused: if there is no whole backup, or the place is not empty; then nothing was changed.

    """
    manifest = Manifest.read(folder)
    with _nobody_at_work(settings), opened_storage(settings) as storage:
        _require_empty(storage, manifest)
        for path in sorted((folder / BLOBS).glob("*/*")):
            _put_back(storage.blobs.files, path)
        file = sqlite_file(settings)
        if file is None:
            postgresql.load(settings.database, folder / manifest.database)
        else:
            partial = file.with_name(f"{file.name}.partial")
            shutil.copyfile(folder / manifest.database, partial)
            partial.replace(file)
        migrate(settings.database)
        storage.blobs.store.forget_claims()
    print(f"restored: the database of {manifest.made_at:%Y-%m-%d %H:%M:%S}Z and {manifest.files} files")
    return 0


def _nobody_at_work(settings: Settings) -> AbstractContextManager[object]:
    return DataFolderLock(settings.data_dir) if settings.database_url is None else nullcontext()


def _require_empty(storage: Storage, manifest: Manifest) -> None:
    kind = storage.database.engine.dialect.name
    if kind != manifest.kind:
        raise StartRefused(
            f"This is a backup of {manifest.kind}, and COLLAPSE_DATABASE_URL asks for {kind}: set it to the same kind."
        )
    file = sqlite_file(storage.settings)
    if file is not None and not file.exists():  # to connect would make it
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    with unavailable_when_away():
        if file is not None or inspect(storage.database.engine).get_table_names():
            raise StartRefused("There is a database already. Restore into an empty one, or into a new data folder.")


def _put_back(files: FileStore, path: Path) -> None:
    with path.open("rb") as source, files.stage() as staged:
        while block := source.read(2**20):
            staged.write(block)
        staged.finish()
        if staged.sha256 != path.name:
            raise StartRefused(f"The backup is damaged: {path} has other content than was stored.")
        files.keep(staged)
