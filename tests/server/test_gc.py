"""`collapse gc`: what it prints, what it deletes, and that a dry run deletes nothing."""

from datetime import timedelta

from stored_things import add_features, add_job, finish, run_command

from jobs.tables import Blob, Features, Job
from server.gc import collect
from server.storage import Storage


def kept(storage: Storage) -> dict[str, int]:
    return {blob.sha256: blob.size_bytes for blob in storage.blobs.files.blobs()}


def expire(storage: Storage, table: type, row_id: str) -> None:
    with storage.database.write() as session:
        session.get(table, row_id).expires_at = storage.database.now() - timedelta(seconds=1)


def test_a_dry_run_says_what_would_go_and_the_real_one_does_it(storage, tmp_path, capsys) -> None:
    features, stays = (add_features(storage, tmp_path, seed=seed) for seed in (1, 2))
    ended, waiting = (add_job(storage, expires_in_seconds=60) for _ in range(2))
    finish(storage, ended, b"1,2\n")
    for table, row_id in ((Features, features), (Job, ended), (Job, waiting)):
        expire(storage, table, row_id)
    with storage.blobs.files.stage() as staged:  # as a crash leaves it: a file, and no row
        staged.write(b"orphan")
        staged.finish()
        storage.blobs.files.keep(staged)
        orphan = staged.sha256
    before = kept(storage)
    assert len(before) == 4
    assert collect(storage, dry_run=True) == 0
    told = capsys.readouterr().out
    size_bytes = storage.feature_sets.store.get(features).size_bytes
    assert f"job {ended}: expired, would be deleted" in told
    assert f"feature set {features}: {size_bytes} bytes, expired, would be deleted" in told
    assert f"file {orphan}: 6 bytes, unknown to the database" in told
    assert waiting not in told  # it has not ended
    assert kept(storage) == before
    assert collect(storage, dry_run=False) == 0
    assert f"feature set {features}: {size_bytes} bytes, expired, deleted" in capsys.readouterr().out
    stays_sha256 = storage.feature_sets.store.get(stays).sha256
    assert set(kept(storage)) == {stays_sha256, orphan}  # that one has an hour of grace
    with storage.database.write() as session:
        session.execute(Blob.__table__.update().values(claimed_until=storage.database.now()))
    collect(storage, dry_run=True)
    told = capsys.readouterr().out
    assert f"file {orphan}: 6 bytes, of no use any more: would be removed" in told
    assert "1 files would be removed, 6 bytes" in told
    collect(storage, dry_run=False)
    assert set(kept(storage)) == {stays_sha256}
    collect(storage, dry_run=False)
    assert "0 files removed, 0 bytes" in capsys.readouterr().out


def test_the_command(storage, tmp_path) -> None:
    add_features(storage, tmp_path)
    done = run_command(storage.settings, "gc", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 files would be removed" in done.stdout
