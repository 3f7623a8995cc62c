"""`collapse doctor`: each kind of damage is found, named and mended, and a sound service has none."""

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from stored_things import add_features, add_features_in_parts, add_job, finish, run_command

from jobs.errors import NotFound
from jobs.store import NewJob
from jobs.store.blobs import CLAIM_SECONDS
from jobs.tables import Job
from server import doctor
from server.doctor import examine
from server.errors import CannotLook
from server.storage import Storage

Look = Callable[..., str]


@pytest.fixture
def look(storage: Storage, capsys, monkeypatch) -> Look:
    """Runs the doctor and gives what it says; the exit code must be this one."""
    monkeypatch.setattr(doctor, "PAUSE_SECONDS", 0.0)

    def run(code: int, **options: bool) -> str:
        assert examine(storage, **{"mend": False, "content": False, **options}) == code
        return str(capsys.readouterr().out)

    return run


def set_columns(storage: Storage, job_id: str, **values: object) -> None:
    with storage.database.write() as session:
        for name, value in values.items():
            setattr(session.get(Job, job_id), name, value)


def test_a_sound_storage_is_left_as_it_is(storage, look, tmp_path) -> None:
    features = add_features(storage, tmp_path)
    finish(storage, add_job(storage), b"1\n")
    parent = add_job(storage, children=[NewJob(kind="train_dufm", parameters={}) for _ in range(2)])
    running = add_job(storage)
    storage.artifacts.jobs.claim(running, lease_seconds=60)
    storage.artifacts.jobs.claim(storage.artifacts.jobs.children(parent)[0].id, lease_seconds=60)
    with storage.blobs.files.stage() as staged:  # on its way in
        staged.write(b"x")
        staged.finish()
        storage.blobs.store.claim([staged.sha256])
        storage.blobs.files.keep(staged)
        assert look(0, mend=True, content=True) == "0 found, 0 mended\n"
    assert storage.feature_sets.store.get(features).status == "ready"
    assert storage.artifacts.jobs.get(running).status == "running"


def test_lost_files_are_named_and_their_rows_go(storage, look, tmp_path) -> None:
    whole, in_parts = add_features(storage, tmp_path), add_features_in_parts(storage, tmp_path, seed=2)
    needed = add_features(storage, tmp_path, seed=3)
    job, other = add_job(storage, features_id=needed), add_job(storage)
    finish(storage, other, b"1\n")
    digests = [storage.feature_sets.store.get(row_id).sha256 for row_id in (whole, needed)]
    digests.append(storage.feature_sets.store.parts(in_parts)[1].sha256)
    digests.append(storage.artifacts.find(other, "table.csv").sha256)
    storage.blobs.files.remove(digests)
    told = look(1)
    for subject in (f"set {whole}", f"set {in_parts}", f"set {needed}", f"table.csv of job {other}", *digests):
        assert subject in told
    assert "part 1" in told
    assert look(1) == told  # nothing was changed
    assert "4 found, 3 mended" in look(1, mend=True)
    for row_id in (whole, in_parts):
        with pytest.raises(NotFound):
            storage.feature_sets.store.get(row_id)
    assert storage.artifacts.jobs.artifacts(other) == []
    assert storage.artifacts.jobs.report(other).body
    with pytest.raises(NotFound, match="lost") as error, storage.feature_sets.open(needed):
        pass
    assert error.value.code == "file_lost"
    storage.artifacts.jobs.request_cancel(job)
    assert "1 found, 1 mended" in look(0, mend=True)
    assert look(0) == "0 found, 0 mended\n"


def test_files_of_other_size_and_other_content_are_damaged(storage, look, tmp_path) -> None:
    whole = add_features(storage, tmp_path)
    sha256 = storage.feature_sets.store.get(whole).sha256
    content = b"".join(storage.blobs.files.read(sha256))
    put(storage, sha256, content[:-1] + bytes([content[-1] ^ 1]))
    assert look(0) == "0 found, 0 mended\n"
    assert "other content" in look(1, content=True)
    put(storage, sha256, content[:-1])
    assert f"{len(content) - 1} bytes in place of {len(content)}" in look(1)
    look(0, mend=True)
    assert add_features(storage, tmp_path) != whole  # made anew
    assert look(0, content=True) == "0 found, 0 mended\n"


def put(storage: Storage, sha256: str, content: bytes) -> None:
    """Write something else in the place of a blob, behind the service's back."""

    class Forged:
        path = storage.blobs.files.staging / "forged"
        size_bytes = len(content)

    Forged.sha256 = sha256
    Forged.path.write_bytes(content)
    storage.blobs.files.keep(Forged)
    Forged.path.unlink(missing_ok=True)


def test_files_without_rows_and_uploads_without_processes_go(storage, look) -> None:
    staged, left = storage.blobs.files.stage(), storage.blobs.files.stage()
    for file in (staged, left):
        file.write(b"orphan")
        file.finish()
    storage.blobs.files.keep(staged)
    os.utime(left.path, (0, 0))
    told = look(1)
    assert f"file {staged.sha256}: nothing refers to its 6 bytes" in told
    assert f"upload {left.path.name}: left half-done" in told
    assert "2 found, 2 mended" in look(0, mend=True)
    assert list(storage.blobs.files.blobs()) == []
    assert not left.path.exists()


def test_jobs_without_owner_and_parents_with_wrong_numbers(storage, look) -> None:
    jobs = storage.artifacts.jobs
    lapsed, without, ended_attempts = (add_job(storage) for _ in range(3))
    for job_id in (lapsed, without, ended_attempts):
        jobs.claim(job_id, lease_seconds=60)
    set_columns(storage, lapsed, lease_expires_at=storage.database.now() - timedelta(seconds=1))
    set_columns(storage, without, lease_token=None, lease_expires_at=None)
    set_columns(storage, ended_attempts, lease_expires_at=None, attempts=3)
    too_many, too_few = (
        add_job(storage, children=[NewJob(kind="train_dufm", parameters={}) for _ in range(2)]) for _ in range(2)
    )
    for child in jobs.children(too_many):
        jobs.request_cancel(child.id)
    set_columns(storage, too_many, pending_children=1, status="running")
    set_columns(storage, too_few, pending_children=1)
    told = look(1)
    for job_id in (lapsed, without, ended_attempts, too_many, too_few):
        assert f"job {job_id}" in told
    assert f"job {too_few}: it waits for 1 children, and 2 have not ended" in told
    look(0, mend=True)
    standing = {name: jobs.get(name) for name in (lapsed, without, ended_attempts, too_many, too_few)}
    assert [job.status for job in standing.values()] == ["queued", "queued", "failed", "queued", "queued"]
    assert [standing[name].pending_children for name in (too_many, too_few)] == [0, 2]
    assert look(0) == "0 found, 0 mended\n"


def test_messages_that_are_lost_are_sent(storage, look, broker_url, monkeypatch) -> None:
    object.__setattr__(storage, "settings", storage.settings.model_copy(update={"broker_url": broker_url}))
    job_id = add_job(storage)
    set_columns(storage, job_id, queued_at=None)
    assert f"job {job_id}: it is queued, and its message is lost" in look(1)
    look(0, mend=True)
    assert look(0) == "0 found, 0 mended\n"
    object.__setattr__(storage, "settings", storage.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))
    with pytest.raises(CannotLook):
        look(2)


def test_a_claim_that_was_left_is_no_reason_to_keep_a_file_for_ever(storage, look) -> None:
    with storage.blobs.files.stage() as staged:
        staged.finish()
        storage.blobs.store.claim([staged.sha256])
        storage.blobs.files.keep(staged)
    assert look(0) == "0 found, 0 mended\n"
    now = storage.database.now
    storage.database.now = lambda: now() + timedelta(seconds=CLAIM_SECONDS + 1)
    assert staged.sha256 in look(1)
    look(0, mend=True)


def test_the_command_and_its_exit_codes(storage, tmp_path) -> None:
    add_features(storage, tmp_path)
    storage.blobs.files.remove([blob.sha256 for blob in storage.blobs.files.blobs()])
    found = run_command(storage.settings, "doctor")
    assert (found.returncode, found.stderr) == (1, "")
    assert "1 found, 0 mended" in found.stdout
    if storage.settings.blob_url:
        blind = run_command(storage.settings.model_copy(update={"blob_url": "s3://nowhere"}), "doctor")
        assert (blind.returncode, "bucket does not exist" in blind.stdout) == (2, True)
    else:
        away = storage.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/nowhere.db"})
        assert run_command(away, "doctor").returncode == 2
        assert not (tmp_path / "nowhere.db").exists()


def test_another_schema_is_told_and_nothing_else(storage, look) -> None:
    with storage.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert "at revision 0001" in look(1, mend=True)
