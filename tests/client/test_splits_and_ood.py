"""What a file says besides its labels and features: the split of each sample, and samples of no class."""

import numpy as np
import pytest

from collapse_client.format import (
    FeatureFile,
    FeaturesDescription,
    InvalidFeatures,
    LayerInfo,
    check_complete,
    merge_descriptions,
    write_features,
)

LIMIT = 2**24
SPLIT = np.array([1, 0, 0, 5, 0, 0, 1, 0, 0, 5, 0, 0], np.uint8)


def test_splits_come_in_step_with_labels_and_features(save, arrays):
    tensors = arrays(split=SPLIT)
    with FeatureFile.open(save(tensors), max_inflated_bytes=LIMIT) as file:
        assert file.has_split
        splits, labels = list(file.split_tiles(5)), list(file.label_tiles(5))
        features = list(file.tiles("layer2", 5))
    assert [len(tile) for tile in splits] == [5, 5, 2]
    assert all(tile.dtype == np.int64 for tile in splits)
    assert np.concatenate(splits).tolist() == SPLIT.tolist()
    assert np.concatenate(labels)[SPLIT == 5].tolist() == tensors["labels"][SPLIT == 5].tolist()
    assert np.array_equal(np.concatenate(features)[SPLIT == 5], tensors["features.layer2"][SPLIT == 5])


def test_without_splits_everything_is_one(save, arrays, describe_path):
    path = save(arrays())
    with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
        assert not file.has_split
    assert describe_path(path).split_class_counts == {}


def test_samples_are_counted_split_by_split(save, arrays, describe_path):
    description = describe_path(save(arrays(split=SPLIT)))  # the labels are 0 1 2 0 1 2 …
    assert (description.num_samples, description.class_counts) == (12, {0: 4, 1: 4, 2: 4})
    assert description.split_class_counts == {0: {1: 4, 2: 4}, 1: {0: 2}, 5: {0: 2}}
    assert list(description.split_class_counts) == [0, 1, 5]


def test_splits_are_counted_over_several_tiles(tmp_path, describe_path):
    count = 600_000  # more than one read
    labels, split = np.arange(count) % 7, (np.arange(count) >= 550_000).astype(np.int8)
    write_features(tmp_path / "f", labels=labels, features={"a": np.zeros(count, np.float16)}, split=split)
    expected = {value: np.bincount(labels[split == value]).tolist() for value in (0, 1)}
    found = describe_path(tmp_path / "f").split_class_counts
    assert {value: list(counts.values()) for value, counts in found.items()} == expected


def test_samples_of_no_class_are_read(save, arrays, describe_path):
    ood = np.arange(28, dtype=np.float32).reshape(7, 2, 2)
    path = save(arrays(ood__layer2=ood))
    with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
        tiles = list(file.ood_tiles("layer2", 3))
        assert list(file.ood_tiles("layer10", 3)) == []
    assert [tile.shape for tile in tiles] == [(3, 4), (3, 4), (1, 4)]
    assert np.array_equal(np.concatenate(tiles), ood.reshape(7, 4))
    assert {layer.name: layer.ood_samples for layer in describe_path(path).layers} == {"layer2": 7, "layer10": 0}


def test_samples_of_no_class_may_lie_column_by_column(tmp_path, arrays):
    ood = np.asfortranarray(np.arange(28.0).reshape(7, 4))
    np.savez(tmp_path / "f.npz", **arrays(ood__layer2=ood))
    with FeatureFile.open(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        assert np.array_equal(np.concatenate(list(file.ood_tiles("layer2", 3))), ood)


def test_both_are_written(tmp_path):
    ood = {"a": np.full((3, 2), 7.0)}
    write_features(tmp_path / "f", labels=[0, 1], features={"a": np.eye(2)}, split=[1, 0], ood=ood)
    with FeatureFile.open(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert [tile.tolist() for tile in file.split_tiles(9)] == [[1, 0]]
        assert [tile.tolist() for tile in file.ood_tiles("a", 9)] == [ood["a"].tolist()]


def part(splits, ood_samples=0):
    class_counts = {}
    for counts in splits.values():
        for label, count in counts.items():
            class_counts[label] = class_counts.get(label, 0) + count
    layer = LayerInfo("a", 3, "float32", None, ood_samples)
    return FeaturesDescription(sum(class_counts.values()), class_counts, (layer,), splits)


WITHOUT = FeaturesDescription(3, {0: 2, 1: 1}, (LayerInfo("a", 3, "float32", None),))


def test_parts_add_up():
    merged = merge_descriptions([part({3: {1: 2}}, 4), part({0: {0: 1, 1: 1}, 3: {1: 5, 0: 6}}), part({0: {1: 2}}, 5)])
    assert merged.split_class_counts == {0: {0: 1, 1: 3}, 3: {0: 6, 1: 7}}
    assert [list(counts) for counts in merged.split_class_counts.values()] == [[0, 1], [0, 1]]
    assert (merged.num_samples, merged.class_counts) == (17, {0: 7, 1: 10})
    assert merged.layers[0].ood_samples == 9


@pytest.mark.parametrize("parts", [[part({0: {0: 2}}), WITHOUT], [WITHOUT, part({0: {0: 2}})]])
def test_all_parts_have_splits_or_none(parts):
    with pytest.raises(InvalidFeatures, match="in every part or in none") as caught:
        merge_descriptions(parts)
    assert caught.value.tensor == "split"
    position = parts.index(WITHOUT)
    assert f"in part {1 - position}, and not in part {position}" in caught.value.detail


def test_parts_together_may_have_too_many_splits():
    with pytest.raises(InvalidFeatures, match="more than 8 distinct values"):
        merge_descriptions([part({number: {0: 2} for number in numbers}) for numbers in (range(5), range(4, 9))])
    merge_descriptions([part({number: {0: 2} for number in numbers}) for numbers in (range(5), range(4, 8))])


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({0: {0: 2, 1: 2}, 4: {1: 1}}, "1 sample of split 4"),
        ({0: {7: 3}, 4: {1: 1, 2: 1}}, "All samples of split 0 have label 7"),
    ],
)
def test_every_split_must_be_complete_by_itself(splits, words):
    with pytest.raises(InvalidFeatures, match=words) as caught:
        check_complete(part(splits))
    assert caught.value.tensor == "split"


def test_complete_splits():
    check_complete(part({0: {0: 1, 1: 1}, 4: {1: 1, 2: 1}}))
