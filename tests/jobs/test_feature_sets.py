"""Feature sets: files, rows and blobs together, on both databases."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from feature_files import feature_arrays, moments_of, split, write_file

from collapse_client.format import FeatureFile, FormatError, InvalidFeatures, MomentsFile
from jobs.errors import Conflict, NotFound, StorageFull
from jobs.feature_sets import FeatureSets
from jobs.files import StagedFile
from jobs.settings import Settings
from jobs.tables import FeaturesPart


@pytest.fixture
def sets(features, blobs) -> FeatureSets:
    return FeatureSets(Settings(), features, blobs)


@pytest.fixture
def staged(sets: FeatureSets, tmp_path: Path) -> Callable[..., StagedFile]:
    def stage(arrays) -> StagedFile:
        file = sets.files.stage()
        file.write(write_file(tmp_path / "file.safetensors", arrays).read_bytes())
        file.finish()
        return file

    return stage


def kept(sets: FeatureSets) -> set[str]:
    return set(sets.files.untouched(for_seconds=-1))


def test_a_file_becomes_a_set(sets, staged) -> None:
    arrays = feature_arrays(num_samples=40, num_classes=4)
    with staged(arrays) as file:
        row, created = sets.add_whole(file, layer_order=["layer1", "layer0"])
    assert created
    assert (row.status, row.num_samples, row.class_counts) == ("ready", 40, {str(k): 10 for k in range(4)})
    assert [layer["name"] for layer in row.layers] == ["layer1", "layer0"]
    assert kept(sets) == {row.sha256}
    with sets.open(row.id) as opened:
        assert opened.layers == ("layer1", "layer0")
        assert opened.parts[0].labels().tolist() == arrays["labels"].tolist()


def test_the_same_bytes_are_one_set_and_one_blob(sets, staged) -> None:
    rows = []
    for order in (None, ["layer0", "layer1"], ["layer1", "layer0"]):
        with staged(feature_arrays()) as file:
            rows.append(sets.add_whole(file, layer_order=order)[0].id)
    assert rows[0] == rows[1]  # the order asked for is the file's own
    assert rows[2] != rows[0]
    assert len(kept(sets)) == 1
    sets.delete(rows[0])
    assert len(kept(sets)) == 1  # the other set still has it
    sets.delete(rows[2])
    assert kept(sets) == set()


def test_a_refused_file_leaves_nothing(sets, staged) -> None:
    arrays = feature_arrays()
    arrays["features.layer0"][7, 2] = float("nan")
    with staged(arrays) as file, pytest.raises(FormatError, match=r"features\.layer0.*row 7"):
        sets.add_whole(file, layer_order=None)
    assert kept(sets) == set()
    assert list(sets.files.staging.iterdir()) == []


def test_parts_make_a_set(sets, staged) -> None:
    arrays = feature_arrays(num_samples=30)
    parts = split(arrays, [1, 17])
    row = sets.open_set(layer_order=None)
    for index in (2, 0, 1):
        for _ in range(2):  # the same part again is harmless
            with staged(parts[index]) as file:
                sets.add_part(row.id, index, file)
    ready = sets.complete(row.id)
    assert (ready.status, ready.num_samples) == ("ready", 30)
    assert sets.complete(row.id).id == row.id
    with sets.open(row.id) as opened:
        labels = [label for part in opened.parts for label in part.labels().tolist()]
    assert labels == arrays["labels"].tolist()
    with staged(parts[1]) as file:
        sets.add_part(row.id, 1, file)
    with staged(parts[1]) as file, pytest.raises(Conflict, match="complete"):
        sets.add_part(row.id, 3, file)


def test_a_part_with_other_bytes_is_a_conflict(sets, staged) -> None:
    parts = split(feature_arrays(), [50])
    row = sets.open_set(layer_order=None)
    with staged(parts[0]) as file:
        sets.add_part(row.id, 0, file)
    with staged(parts[1]) as file, pytest.raises(Conflict, match="other bytes"):
        sets.add_part(row.id, 0, file)


def test_a_part_that_does_not_fit_the_others_is_refused_at_once(sets, staged) -> None:
    row = sets.open_set(layer_order=None)
    with staged(split(feature_arrays(dims=(6, 5)), [50])[0]) as file:
        sets.add_part(row.id, 0, file)
    with staged(split(feature_arrays(dims=(7, 5)), [50])[1]) as file, pytest.raises(InvalidFeatures, match="layer0"):
        sets.add_part(row.id, 1, file)


def test_a_set_of_moments_and_samples(sets, staged) -> None:
    arrays = feature_arrays(num_samples=60, num_classes=4, dims=(6, 5))
    samples, moments = split(arrays, [40])
    moments = moments_of(moments)
    moments["ood.layer0"], samples["ood.layer0"] = np.ones((3, 6)), np.ones((2, 6), np.float32)
    row = sets.open_set(layer_order=["layer1", "layer0"])
    for index, part in enumerate((samples, moments)):
        with staged(part) as file:
            sets.add_part(row.id, index, file)
    ready = sets.complete(row.id)
    assert (ready.num_samples, ready.class_counts) == (60, {str(label): 15 for label in range(4)})
    assert [(layer["name"], layer["second_moments"], layer["ood_samples"]) for layer in ready.layers] == [
        ("layer1", "trace", 0),
        ("layer0", "trace", 5),
    ]
    with sets.open(row.id) as opened:
        first, second = opened.parts
        assert isinstance(first, FeatureFile)
        assert first.num_samples == 40
        assert isinstance(second, MomentsFile)
        assert np.array_equal(second.means("layer0"), moments["means.layer0"])


def test_moments_alone_are_a_set(sets, staged) -> None:
    moments = moments_of(feature_arrays(num_samples=40, num_classes=4))
    with staged(moments) as file:
        row, _ = sets.add_whole(file, layer_order=None)
    assert (row.num_samples, row.class_counts) == (40, {str(label): 10 for label in range(4)})
    moments["counts"][2] = 0
    with staged(moments) as file, pytest.raises(InvalidFeatures, match="leave out classes without samples"):
        sets.add_whole(file, layer_order=None)


def test_splits_are_in_every_part_or_in_none(sets, staged) -> None:
    arrays = feature_arrays(num_samples=30)
    parts = split({**arrays, "split": np.arange(30) % 2}, [10])
    without = {name: array for name, array in parts[1].items() if name != "split"}
    row = sets.open_set(layer_order=None)
    with staged(parts[0]) as file:
        sets.add_part(row.id, 0, file)
    for wrong in (without, moments_of(without)):
        with staged(wrong) as file, pytest.raises(InvalidFeatures, match="in every part or in none"):
            sets.add_part(row.id, 1, file)
    with staged(parts[1]) as file:
        sets.add_part(row.id, 1, file)
    assert sets.complete(row.id).num_samples == 30


def test_a_split_of_one_class_is_not_complete(sets, staged) -> None:
    arrays = feature_arrays(num_samples=30)
    arrays["split"] = (arrays["labels"] == 2).astype(np.int64)
    with staged(arrays) as file, pytest.raises(InvalidFeatures, match="of split 1 have label 2"):
        sets.add_whole(file, layer_order=None)


def test_parts_of_earlier_versions_are_read(sets, staged, database) -> None:
    row = sets.open_set(layer_order=None)
    first, second = split(feature_arrays(num_samples=30), [10])
    with staged(first) as file:
        sets.add_part(row.id, 0, file)
    with database.write() as session:
        part = session.get(FeaturesPart, (row.id, 0))
        added = {"ood_samples", "second_moments"}
        layers = [{name: layer[name] for name in layer.keys() - added} for layer in part.description["layers"]]
        assert all(len(layer) == 4 for layer in layers)
        counts = {name: part.description[name] for name in ("num_samples", "class_counts")}
        part.description = {**counts, "layers": layers}
    with staged(second) as file:
        sets.add_part(row.id, 1, file)
    ready = sets.complete(row.id)
    assert ready.num_samples == 30
    assert [(layer["ood_samples"], layer["second_moments"]) for layer in ready.layers] == [(0, None), (0, None)]


def test_a_gap_keeps_a_set_open(sets, staged) -> None:
    row = sets.open_set(layer_order=None)
    with pytest.raises(Conflict, match="0 … n−1"):
        sets.complete(row.id)
    for index in (0, 2):
        with staged(split(feature_arrays(), [20, 40])[index]) as file:
            sets.add_part(row.id, index, file)
    with pytest.raises(Conflict, match=r"\[1\]"):
        sets.complete(row.id)


def test_features_in_use_stay(sets, staged, jobs, new_job, clock) -> None:
    with staged(feature_arrays()) as file:
        row, _ = sets.add_whole(file, layer_order=None)
    job, _ = jobs.create(new_job(features_id=row.id))
    with pytest.raises(Conflict, match=job.id):
        sets.delete(row.id)
    clock.move(10**8)
    assert sets.delete_expired() == 0
    jobs.request_cancel(job.id)
    assert sets.delete_expired() == 1
    with pytest.raises(NotFound):
        sets.store.get(row.id)
    assert kept(sets) == set()
    with pytest.raises(NotFound):
        jobs.create(new_job(features_id=row.id))


def test_a_job_on_an_open_set_is_refused(sets, jobs, new_job) -> None:
    row = sets.open_set(layer_order=None)
    with pytest.raises(Conflict, match="complete"):
        jobs.create(new_job(features_id=row.id))


def test_garbage_goes_and_missing_blobs_are_survived(sets, staged) -> None:
    with staged(feature_arrays(seed=1)) as file:
        row, _ = sets.add_whole(file, layer_order=None)
    orphan = staged(feature_arrays(seed=2))
    sets.files.keep(orphan)  # as a crash between file and row leaves it
    assert len(kept(sets)) == 2
    assert sets.blobs.collect_garbage(grace_seconds=0) == 1
    assert kept(sets) == {row.sha256}
    sets.files.remove([row.sha256])
    with pytest.raises(NotFound, match=row.sha256), sets.open(row.id):
        pass
    with staged(feature_arrays(seed=1)) as file:  # the same bytes again put them back
        sets.add_whole(file, layer_order=None)
    with sets.open(row.id) as opened:
        assert opened.parts[0].num_samples == row.num_samples
    sets.files.remove([row.sha256])
    sets.delete(row.id)


def test_staged_files_of_dead_processes_go(sets) -> None:
    left, fresh = sets.files.stage(), sets.files.stage()
    for file in (left, fresh):
        file.finish()
    os.utime(left.path, (0, 0))
    assert sets.files.remove_stale_staged() == 1
    assert not left.path.exists()
    assert fresh.path.exists()


def test_a_full_disk_is_told_and_leaves_nothing(sets) -> None:
    # /dev/full answers every write as a full disk does.
    with sets.files.stage() as file, open("/dev/full", "wb", buffering=0) as full:
        os.dup2(full.fileno(), file._file.fileno())
        with pytest.raises(StorageFull, match="disk"):
            file.write(b"x")
    assert list(sets.files.staging.iterdir()) == []
