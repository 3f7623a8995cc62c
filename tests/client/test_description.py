"""What a description says, of one file and of parts, and what reading it costs."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from collapse_client.format import (
    FeaturesDescription,
    InvalidFeatures,
    LayerInfo,
    check_complete,
    merge_descriptions,
    order_layers,
    write_features,
)

MEBIBYTE = 2**20


def test_a_description(save, arrays, describe_path):
    description = describe_path(save(arrays(features__layer10=np.ones((12, 3, 5)))))
    assert description.num_samples == 12
    assert description.num_classes == 3
    assert description.class_counts == {0: 4, 1: 4, 2: 4}
    assert set(description.layers) == {
        LayerInfo("layer2", 4, "float32", (5, 4)),
        LayerInfo("layer10", 15, "float64", None),
    }


def test_more_classes_than_can_be_meant(tmp_path, describe_path):
    count = 10_001
    write_features(tmp_path / "f", labels=np.arange(count), features={"a": np.ones(count)})
    with pytest.raises(InvalidFeatures, match="are these class indices"):
        describe_path(tmp_path / "f")


def test_a_single_part_may_have_one_sample(tmp_path, describe_path):
    write_features(tmp_path / "f", labels=[4], features={"a": np.ones((1, 2))})
    assert describe_path(tmp_path / "f").class_counts == {4: 1}


@pytest.mark.parametrize("kind", ["safetensors", "npz", "deflated", "fortran"])
def test_memory_stays_flat(tmp_path, describe_path, kind):
    labels = np.arange(8192) % 10
    features = np.ones((8192, 2048), np.float32, order="F" if kind == "fortran" else "C")  # 64 MiB
    path = tmp_path / "f"
    if kind == "safetensors":
        write_features(path, labels=labels, features={"a": features})
    else:
        with path.open("wb") as file:
            save = np.savez_compressed if kind == "deflated" else np.savez
            save(file, labels=labels, **{"features.a": features})
    del features
    tracemalloc.start()
    description = describe_path(path, limit=128 * MEBIBYTE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert description.layers == (LayerInfo("a", 2048, "float32", None),)
    assert peak < 24 * MEBIBYTE


def part(layers=("a", "b"), counts=None, dim=3, dtype="float32", weights=None):
    counts = {0: 2, 1: 1} if counts is None else counts
    infos = tuple(LayerInfo(layer, dim, dtype, (weights or {}).get(layer)) for layer in layers)
    return FeaturesDescription(sum(counts.values()), counts, infos)


def test_parts_add_up():
    merged = merge_descriptions([part(counts={5: 2}), part(counts={1: 1, 5: 3}, weights={"b": (2, 3)}), part()])
    assert merged.num_samples == 9
    assert list(merged.class_counts.items()) == [(0, 2), (1, 2), (5, 5)]
    assert [layer.weights_shape for layer in merged.layers] == [None, (2, 3)]


def test_the_first_part_sets_the_order():
    assert [layer.name for layer in merge_descriptions([part(("b", "a")), part(("a", "b"))]).layers] == ["b", "a"]


@pytest.mark.parametrize("other", [part(("a",)), part(("a", "c")), part(dim=4), part(dtype="float64")])
def test_parts_must_have_the_same_tensors(other):
    with pytest.raises(InvalidFeatures, match="send the same tensors in every part") as caught:
        merge_descriptions([part(), other])
    assert caught.value.tensor in ("features.a", "features.b")


def test_weights_come_in_one_part_only():
    with pytest.raises(InvalidFeatures, match="parts 0 and 2") as caught:
        merge_descriptions([part(weights={"a": (2, 3)}), part(), part(weights={"a": (2, 3)})])
    assert caught.value.tensor == "weights.a"


def test_no_parts_are_no_set():
    with pytest.raises(InvalidFeatures, match="no parts"):
        merge_descriptions([])


def test_parts_together_may_have_too_many_classes():
    parts = [part(counts=dict.fromkeys(range(start, start + 6000), 1)) for start in (0, 6000)]
    with pytest.raises(InvalidFeatures, match="class indices"):
        merge_descriptions(parts)


def test_a_whole_set_needs_two_samples_and_two_classes():
    check_complete(part())
    with pytest.raises(InvalidFeatures, match="1 sample"):
        check_complete(part(counts={0: 1}))
    with pytest.raises(InvalidFeatures, match="label 7"):
        check_complete(part(counts={7: 5}))


def test_descriptions_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        part().num_samples = 3


def test_layers_in_a_given_order():
    assert order_layers(["a", "b", "c"], ["c", "a", "b"]) == ("c", "a", "b")


def test_a_given_order_that_is_no_permutation_is_taken_apart():
    with pytest.raises(InvalidFeatures) as caught:
        order_layers(["a", "b"], ["c", "a", "a"])
    assert "unknown: 'c'; missing: 'b'; repeated: 'a'" in caught.value.detail
