"""Backup and restore, on both databases and both stores, with uploads and deletions going on."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from feature_files import feature_arrays
from object_store import ObjectStore
from postgres import PostgresServer
from stored_things import add_features, add_features_in_parts, add_job, finish, run_command

from jobs.errors import NotFound
from jobs.settings import Settings
from jobs.store import CheckupStore
from server.backup import back_up
from server.doctor import examine
from server.errors import StartRefused
from server.restore import restore
from server.storage import Storage, opened_storage

Target = Callable[[], Settings]


@pytest.fixture
def empty_place(
    make_database: Callable[[], str], object_store: ObjectStore, storage: Storage, tmp_path: Path
) -> Target:
    """A factory of places to restore into, of the same kind as where the backup is from."""

    def make() -> Settings:
        bucket = object_store.settings(object_store.bucket()) if storage.settings.blob_url else {}
        return Settings(data_dir=tmp_path / "elsewhere", database_url=make_database(), **bucket)

    return make


@pytest.fixture(autouse=True)
def clients_of_postgresql(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PostgreSQL runs, its programs are on PATH."""
    if "postgresql" in request.node.name:
        server: PostgresServer = request.getfixturevalue("postgres")
        monkeypatch.setenv("PATH", f"{server.programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(server.libraries))


@pytest.fixture
def busy(storage: Storage, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Until it is called: uploads, jobs that leave files, deletions, the garbage."""
    stopped = threading.Event()
    errors: list[Exception] = []

    def work(number: int) -> None:
        folder = tmp_path / f"busy{number}"
        folder.mkdir()
        seed = 1000 * number
        try:
            while not stopped.is_set():
                seed += 1
                features = add_features(storage, folder, seed=seed)
                job = add_job(storage, features_id=features)
                finish(storage, job, b"%d" % seed)
                if seed % 3:
                    storage.artifacts.delete_job(job)
                    storage.feature_sets.delete(features)
                storage.blobs.remove_garbage()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()

    def stop() -> None:
        stopped.set()
        for thread in threads:
            thread.join()
        assert errors == []

    yield stop
    stop()


def test_what_was_there_is_there_again(storage, busy, empty_place, tmp_path, capsys) -> None:
    folder = tmp_path / "backup"
    whole, in_parts = add_features(storage, tmp_path), add_features_in_parts(storage, tmp_path, seed=2)
    job, queued = add_job(storage), add_job(storage)
    finish(storage, job, b"1,2\n")
    for _ in range(3):  # the first copies all, the others what is new
        assert back_up(storage, folder) == 0
    busy()
    assert [path.name for path in folder.glob("*")].count("backup.json") == 1
    assert len(list(folder.glob("database-*"))) == 1
    assert storage.blobs.remove_garbage() >= 0  # nothing is held any more
    target = empty_place()
    assert restore(target, folder) == 0
    with opened_storage(target) as restored:
        assert examine(restored, mend=False, content=True) == 0, capsys.readouterr().out
        rows = CheckupStore(restored.database).parts()
        assert {whole, in_parts} <= {row.owner_id for row in rows}
        for features_id in {row.owner_id for row in rows}:
            with restored.feature_sets.open(features_id) as opened:
                assert sum(part.num_samples for part in opened.parts) == len(feature_arrays()["labels"])
        assert json.loads(restored.artifacts.jobs.report(job).body) == {"job": job}
        with restored.artifacts.lend(restored.artifacts.find(job, "table.csv")) as path:
            assert path.read_bytes() == b"1,2\n"
        assert restored.artifacts.jobs.get(queued).status == "queued"
        restored.feature_sets.delete(whole)  # and nothing holds what is of no use
        assert examine(restored, mend=False, content=False) == 0
    with pytest.raises(StartRefused, match="database already"):
        restore(target, folder)


def test_a_backup_again_copies_what_is_new_and_drops_what_is_gone(storage, tmp_path, capsys) -> None:
    folder = tmp_path / "backup"
    first, second = (add_features(storage, tmp_path, seed=seed) for seed in (1, 2))
    digests = [storage.feature_sets.store.get(features_id).sha256 for features_id in (first, second)]

    def files() -> set[str]:
        return {path.name for path in (folder / "blobs").glob("*/*")}

    back_up(storage, folder)
    assert files() == set(digests)
    storage.feature_sets.delete(first)
    add_features(storage, tmp_path, seed=3)
    capsys.readouterr()
    back_up(storage, folder)
    assert "2 files, of which 1 were copied now" in capsys.readouterr().out
    assert digests[0] not in files()
    assert len(files()) == 2


def test_nothing_is_removed_while_a_backup_is_made(storage, tmp_path, monkeypatch) -> None:
    """What is deleted right after the copy of the database is still copied with its files."""
    features = add_features(storage, tmp_path)
    sha256 = storage.feature_sets.store.get(features).sha256
    read = type(storage.blobs.files).read

    def delete_then_read(files: object, digest: str) -> Iterator[bytes]:
        storage.feature_sets.delete(features)
        return read(files, digest)

    monkeypatch.setattr(type(storage.blobs.files), "read", delete_then_read)
    assert back_up(storage, tmp_path / "backup") == 0
    monkeypatch.undo()
    with pytest.raises(NotFound):
        storage.feature_sets.store.get(features)
    assert (tmp_path / "backup" / "blobs" / sha256[:2] / sha256).is_file()
    assert storage.blobs.remove_garbage() == 1


def test_what_is_no_backup_or_a_damaged_one_is_refused(storage, empty_place, tmp_path) -> None:
    folder, target = tmp_path / "backup", empty_place()
    with pytest.raises(StartRefused, match="no backup that was finished"):
        restore(target, folder)
    add_features(storage, tmp_path)
    back_up(storage, folder)
    (file,) = (folder / "blobs").glob("*/*")
    content = bytearray(file.read_bytes())
    file.chmod(0o600)
    file.write_bytes(content[:-1])
    with pytest.raises(StartRefused, match="damaged"):
        restore(target, folder)
    file.write_bytes(content)
    assert restore(target, folder) == 0  # the refusal had changed nothing


def test_the_commands(storage, empty_place, tmp_path) -> None:
    add_features(storage, tmp_path)
    folder, target = str(tmp_path / "backup"), empty_place()
    for settings, command in ((storage.settings, "backup"), (target, "restore")):
        done = run_command(settings, command, folder)
        assert done.returncode == 0, done.stderr
    again = run_command(target, "restore", folder)
    assert (again.returncode, "database already" in again.stderr) == (1, True)
