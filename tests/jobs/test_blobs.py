"""Claims: no blob goes between its place and its row, whoever deletes at the same moment, wherever they run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from blob_users import make_blobs, use
from object_store import ObjectStore

from jobs.blobs import Blobs
from jobs.errors import ClaimLost
from jobs.settings import Settings
from jobs.store import Database, JobStore, utc_now
from jobs.store.blobs import CLAIM_SECONDS, let_go
from jobs.store.records import ArtifactFile
from jobs.tables import Artifact

CONTENT = b"some bytes"
PROGRAM = ("setpriv", "--pdeathsig", "KILL", sys.executable)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, object_store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """The settings of a store; with both databases, four pairs."""
    bucket = object_store.settings(object_store.bucket()) if request.param == "bucket" else {}
    return {"data_dir": str(tmp_path), **bucket}


@pytest.fixture
def run_users(migrated_url: str, store: dict[str, str]) -> Callable[..., None]:

    def run(rounds: int, *owners: str) -> None:
        processes = [
            subprocess.Popen(
                [*PROGRAM, "-m", "blob_users", migrated_url, json.dumps(store), owner, str(rounds)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stderr=subprocess.PIPE,
            )
            for owner in owners
        ]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors.decode()

    return run


def test_two_processes_never_take_each_others_files(run_users, migrated_url, store) -> None:
    run_users(6, "one", "other")
    database = Database(migrated_url)
    blobs = make_blobs(database, Settings(**store))
    assert list(blobs.files.blobs()) == []
    assert blobs.remove_garbage() == 0
    database.close()


def test_threads_never_take_each_others_files(migrated_url, store) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda owner: use(migrated_url, json.dumps(store), owner, 6), "abcd"))


# -- one step at a time --------------------------------------------------------------------------------------------


@pytest.fixture
def job(jobs: JobStore, new_job) -> tuple[str, str]:
    """A running job and its token."""
    made, _ = jobs.create(new_job())
    claimed = jobs.claim(made.id, lease_seconds=10**9)
    return made.id, claimed.lease_token


@pytest.fixture
def put(blobs: Blobs) -> Iterator[Callable[[], str]]:
    """Claims a file and puts it in place, and no more."""
    with ExitStack() as stack:

        def keep() -> str:
            staged = stack.enter_context(blobs.files.stage())
            staged.write(CONTENT)
            staged.finish()
            blobs.store.claim([staged.sha256])
            blobs.files.keep(staged)
            return staged.sha256

        yield keep


def artifact(sha256: str, name: str = "a.csv") -> ArtifactFile:
    return ArtifactFile(name=name, sha256=sha256, size_bytes=len(CONTENT), media_type="text/csv")


def is_there(blobs: Blobs, sha256: str) -> bool:
    return sha256 in blobs.files.untouched(for_seconds=-60)


def test_a_claim_ends_with_the_row_and_the_blob_with_the_last_row(blobs, jobs, job, put) -> None:
    sha256 = put()
    assert put() == sha256  # two have claimed it
    assert blobs.remove_unreferenced([sha256]) == 0
    blobs.store.release([sha256])  # one gives up
    assert blobs.remove_unreferenced([sha256]) == 0
    job_id, token = job
    assert jobs.succeed(job_id, token, body="{}", etag="e", measurements=[], artifacts=[artifact(sha256)])
    assert blobs.store.waiting([sha256]) == set()
    assert blobs.remove_unreferenced([sha256]) == 0
    assert is_there(blobs, sha256)
    assert blobs.remove_unreferenced(jobs.delete(job_id)) == 1
    assert not is_there(blobs, sha256)


def test_a_row_that_comes_after_its_claim_has_run_out_is_refused(blobs, jobs, job, put, clock) -> None:
    sha256 = put()
    clock.move(CLAIM_SECONDS + 1)
    assert blobs.remove_garbage() == 1
    job_id, token = job
    with pytest.raises(ClaimLost, match="may be gone"):
        jobs.succeed(job_id, token, body="{}", etag="e", measurements=[], artifacts=[artifact(sha256)])
    assert jobs.get(job_id).status == "running"
    put()
    assert jobs.succeed(job_id, token, body="{}", etag="e", measurements=[], artifacts=[artifact(sha256)])


def test_a_failure_between_lets_go_at_once(blobs) -> None:
    def fail() -> None:
        with blobs.files.stage() as staged:
            staged.write(CONTENT)
            staged.finish()
            with blobs.put_in_place([staged]):
                raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert blobs.remove_garbage() == 1


def test_while_all_is_held_nothing_goes(blobs, put, clock) -> None:
    sha256 = put()
    blobs.store.release([sha256])
    names = [blobs.store.hold_all() for _ in range(2)]
    assert blobs.remove_garbage() == 0
    assert blobs.remove_unreferenced([sha256]) == 0
    blobs.store.release_all(names[0])  # the other died
    clock.move(CLAIM_SECONDS - 1)
    assert blobs.remove_garbage() == 0
    clock.move(2)
    blobs.store.release_all(blobs.store.hold_all())  # which does not prolong that one's
    assert blobs.remove_garbage() == 1
    assert not is_there(blobs, sha256)


def test_who_removes_waits_for_who_refers(blobs, database, job, put) -> None:
    sha256 = put()
    removed: list[int] = []
    remover = threading.Thread(target=lambda: removed.append(blobs.remove_unreferenced([sha256])))
    with database.write() as session:
        session.add(Artifact(job_id=job[0], **vars(artifact(sha256))))
        session.flush()
        let_go(session, [sha256], database.now())
        remover.start()
        remover.join(0.5)
        assert remover.is_alive()
    remover.join()
    assert removed == [0]
    assert is_there(blobs, sha256)


def test_what_turns_up_in_the_store_goes_after_the_time_of_grace(blobs, put, database, clock) -> None:
    sha256 = put()
    blobs.store.forget_claims()
    assert blobs.store.remove_unreferenced([sha256], lambda _: None) == [sha256]  # the row goes, the file stays
    assert blobs.collect_garbage(grace_seconds=100) == 0
    clock.move(99)
    assert blobs.collect_garbage(grace_seconds=100) == 0
    clock.move(2)
    assert blobs.collect_garbage(grace_seconds=100) == 1
    assert not is_there(blobs, sha256)


def test_a_process_that_dies_with_a_claim_blocks_removal_for_a_day(migrated_url, tmp_path) -> None:
    program = (
        "import sys, time; from blob_users import *; blobs = make_blobs(Database(sys.argv[1]), Settings()); "
        "blobs.files.stage(); staged = blobs.files.stage(); staged.write(b'some bytes'); staged.finish(); "
        "blobs.store.claim([staged.sha256]); blobs.files.keep(staged); print(staged.sha256, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [*PROGRAM, "-c", program, migrated_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLLAPSE_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    sha256 = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    ages = [0.0, CLAIM_SECONDS - 60, CLAIM_SECONDS + 1]
    databases = [Database(migrated_url, clock=lambda age=age: utc_now() + timedelta(seconds=age)) for age in ages]
    removed = [
        make_blobs(database, Settings(data_dir=tmp_path)).collect_garbage(grace_seconds=0) for database in databases
    ]
    assert removed == [0, 0, 1], sha256
    for database in databases:
        database.close()
