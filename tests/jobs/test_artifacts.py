"""Artifacts: files, rows and blobs together, and the garbage that artifacts and features share."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from feature_files import feature_arrays, write_file

from jobs.artifacts import Artifacts
from jobs.errors import Conflict, NotFound, StorageFull
from jobs.feature_sets import FeatureSets
from jobs.settings import Settings
from jobs.store.blobs import CLAIM_SECONDS


@pytest.fixture
def artifacts(jobs, blobs) -> Artifacts:
    return Artifacts(jobs, blobs)


@pytest.fixture
def finish(jobs, artifacts):
    """Runs a job to its end, with these artifacts."""

    def end(job_id: str, **contents: bytes) -> None:
        token = jobs.claim(job_id, lease_seconds=10).lease_token
        with artifacts.of_running_job() as kept:
            for name, content in contents.items():
                kept.keep(name.replace("_", "."), content)
            with kept.put_in_place() as files:
                assert jobs.succeed(job_id, token, body="{}", etag="e", measurements=[], artifacts=files)

    return end


def content(artifacts, job_id: str, name: str) -> bytes:
    with artifacts.lend(artifacts.find(job_id, name)) as path:
        return path.read_bytes()


def in_folder(blobs) -> set[str]:
    return set(blobs.files.untouched(for_seconds=-1))


def test_what_was_kept_is_found_under_its_name(jobs, artifacts, new_job, finish) -> None:
    job, _ = jobs.create(new_job())
    finish(job.id, solution_safetensors=b"abc", sweep_csv=b"a,b\n", trajectory_parquet=b"PAR1", other_bin=b"")
    found = {row.name: (row.size_bytes, row.media_type) for row in jobs.artifacts(job.id)}
    assert found == {
        "other.bin": (0, "application/octet-stream"),
        "solution.safetensors": (3, "application/octet-stream"),
        "sweep.csv": (4, "text/csv; charset=utf-8"),
        "trajectory.parquet": (4, "application/vnd.apache.parquet"),
    }
    row = artifacts.find(job.id, "sweep.csv")
    with artifacts.lend(row) as path:
        assert path.read_bytes() == b"a,b\n"
        assert path.name == row.sha256
    with pytest.raises(NotFound, match=r"it has other\.bin, solution\.safetensors, sweep\.csv") as missing:
        artifacts.find(job.id, "sweep.tsv")
    assert missing.value.code == "artifact_not_found"


def test_there_is_nothing_before_the_end_and_nothing_without_success(jobs, artifacts, new_job) -> None:
    job, _ = jobs.create(new_job())
    for ask in (jobs.artifacts, lambda job_id: artifacts.find(job_id, "a.csv")):
        with pytest.raises(Conflict, match="queued"):
            ask(job.id)
    jobs.request_cancel(job.id)
    assert jobs.artifacts(job.id) == []
    with pytest.raises(NotFound, match="it has none"):
        artifacts.find(job.id, "a.csv")
    with pytest.raises(NotFound, match="GET /v1/jobs"):
        jobs.artifacts("job_nowhere")


def test_a_job_that_stops_leaves_no_file(artifacts, blobs) -> None:
    with artifacts.of_running_job() as kept:
        kept.keep("a.csv", b"1")
        assert len(list(blobs.files.staging.iterdir())) == 1
    assert in_folder(blobs) == set()
    assert list(blobs.files.staging.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a b", "ä", 'a"', "a\n", "x" * 201])
def test_a_name_that_is_no_name_is_refused(artifacts, name) -> None:
    with artifacts.of_running_job() as kept, pytest.raises(ValueError, match="no name"):
        kept.keep(name, b"")


def test_a_name_is_given_once(artifacts) -> None:
    with artifacts.of_running_job() as kept:
        kept.keep("a.csv", b"1")
        with pytest.raises(ValueError, match="taken"):
            kept.keep("a.csv", b"1")


def test_a_full_disk_is_told(artifacts, blobs, monkeypatch) -> None:
    stage = blobs.files.stage

    def full():
        staged = stage()
        with open("/dev/full", "wb", buffering=0) as device:
            os.dup2(device.fileno(), staged._file.fileno())
        return staged

    monkeypatch.setattr(blobs.files, "stage", full)
    with artifacts.of_running_job() as kept, pytest.raises(StorageFull):
        kept.keep("a.csv", b"1")
    assert list(blobs.files.staging.iterdir()) == []


def test_files_go_with_the_last_job_that_has_them(jobs, artifacts, blobs, new_job, finish) -> None:
    first, second = (jobs.create(new_job())[0].id for _ in range(2))
    for job_id in (first, second):
        finish(job_id, same_csv=b"the same", own_csv=job_id.encode())
    assert len(in_folder(blobs)) == 3
    artifacts.delete_job(first)
    assert len(in_folder(blobs)) == 2
    assert content(artifacts, second, "same.csv") == b"the same"
    artifacts.delete_job(second)
    assert in_folder(blobs) == set()


def test_a_parent_takes_the_files_of_its_children_with_it(jobs, artifacts, blobs, new_job, finish) -> None:
    parent, _ = jobs.create(new_job(children=[new_job(), new_job()]))
    for index, child in enumerate(jobs.children(parent.id)):
        finish(child.id, a_csv=str(index).encode())
    finish(parent.id, a_csv=b"all")
    assert len(in_folder(blobs)) == 3
    artifacts.delete_job(parent.id)
    assert in_folder(blobs) == set()


def test_features_and_artifacts_of_the_same_bytes_keep_each_other(
    jobs, artifacts, features, blobs, new_job, finish, tmp_path
) -> None:
    sets = FeatureSets(Settings(), features, blobs)
    written = write_file(tmp_path / "file.safetensors", feature_arrays()).read_bytes()
    job, _ = jobs.create(new_job())
    finish(job.id, f_safetensors=written)
    with sets.files.stage() as staged:
        staged.write(written)
        staged.finish()
        row, _ = sets.add_whole(staged, layer_order=None)
    assert in_folder(blobs) == {row.sha256}
    sets.delete(row.id)
    assert blobs.collect_garbage(grace_seconds=0) == 0
    assert content(artifacts, job.id, "f.safetensors") == written
    artifacts.delete_job(job.id)
    assert in_folder(blobs) == set()


def test_what_a_crash_leaves_between_file_and_row_is_collected(jobs, artifacts, blobs, new_job, finish, clock) -> None:
    job, _ = jobs.create(new_job())
    finish(job.id, a_csv=b"kept")
    with artifacts.of_running_job() as kept:
        kept.keep("a.csv", b"lost")
        with kept.put_in_place():
            pass  # and no row
    assert len(in_folder(blobs)) == 2
    assert blobs.collect_garbage(grace_seconds=0) == 0  # whoever has put it there may still write its row
    clock.move(CLAIM_SECONDS + 1)
    assert blobs.remove_garbage() == 1
    assert content(artifacts, job.id, "a.csv") == b"kept"


def test_no_file_goes_between_its_place_and_its_row(jobs, artifacts, blobs, new_job, finish) -> None:
    """Jobs that leave the same bytes, and others that are deleted at the same time, with the garbage collected."""
    made = [jobs.create(new_job())[0].id for _ in range(12)]

    def live(number: int) -> None:
        finish(made[number], a_csv=b"the same")
        if number % 2:
            artifacts.delete_job(made[number])
        blobs.collect_garbage(grace_seconds=0)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(live, range(12)))
    for job_id in made[::2]:
        assert content(artifacts, job_id, "a.csv") == b"the same"
