"""Files of moments: read, described, merged with others, and written by those who have accumulated them."""

import itertools
import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

from collapse_client.format import (
    FeaturesDescription,
    InvalidFeatures,
    LayerInfo,
    MomentsFile,
    check_complete,
    describe,
    merge_descriptions,
    open_features,
    write_features,
    write_moments,
)
from collapse_client.format.moments import Moments, ProjectedScatter

LIMIT = 2**24


def test_tensors_come_back(save, moments_arrays):
    tensors = moments_arrays(ood__layer2=np.arange(20.0).reshape(5, 2, 2))
    with open_features(save(tensors), max_inflated_bytes=LIMIT) as file:
        assert isinstance(file, MomentsFile)
        assert (file.classes.tolist(), file.classes.dtype) == ([7, 0, 4], np.int64)
        assert (file.counts.tolist(), file.counts.dtype) == ([5, 1, 6], np.int64)
        assert file.num_samples == 12
        assert (file.dim("layer2"), file.dim("layer10")) == (4, 4)
        for layer in file.layers:
            assert file.means(layer).dtype == np.float64
            assert np.array_equal(file.means(layer), tensors[f"means.{layer}"])
            assert np.array_equal(file.scatter(layer), tensors[f"scatter.{layer}"])
        for read, kind in (
            (file.shift, "shift"),
            (file.scatter_matrix, "scatter_matrix"),
            (file.projected_scatter, "projected_scatter"),
            (file.weights, "weights"),
            (file.biases, "biases"),
        ):
            assert np.array_equal(read("layer10"), tensors[f"{kind}.layer10"])
            assert read("layer2") is None
        assert np.array_equal(np.concatenate(list(file.ood_tiles("layer2", 2))), tensors["ood.layer2"].reshape(5, 4))
        assert list(file.ood_tiles("layer10", 2)) == []


def test_means_may_lie_column_by_column(tmp_path, moments_arrays):
    means = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.savez(tmp_path / "f.npz", **moments_arrays(means__layer10=means))
    with open_features(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        assert np.array_equal(file.means("layer10"), means)


def test_layers_keep_the_order_that_the_file_gives_them(tmp_path, moments_arrays):
    tensors = moments_arrays()
    path = tmp_path / "f"
    for metadata, expected in ((None, ("layer2", "layer10")), ('["layer10", "layer2"]', ("layer10", "layer2"))):
        safetensors.numpy.save_file(tensors, path, metadata=metadata and {"layers": metadata})
        with open_features(path, max_inflated_bytes=LIMIT) as file:
            assert file.layers == expected
    np.savez(tmp_path / "f.npz", **dict(sorted(tensors.items())))
    with open_features(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("layer10", "layer2")


def test_a_description(save, moments_arrays, describe_path):
    description = describe_path(save(moments_arrays(ood__layer2=np.ones((5, 4)))))
    assert description.num_samples == 12
    assert list(description.class_counts.items()) == [(0, 1), (4, 6), (7, 5)]
    assert description.split_class_counts == {}
    assert set(description.layers) == {
        LayerInfo("layer2", 4, "float32", None, 5, "trace"),
        LayerInfo("layer10", 4, "float64", (3, 4), 0, "matrix"),
    }


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        ((), "matrix"),
        (("projected_scatter",), "matrix"),
        (("scatter_matrix",), "projection"),
        (("scatter_matrix", "projected_scatter"), "trace"),
    ],
)
def test_what_is_known_of_the_second_moments(save, moments_arrays, describe_path, left_out, expected):
    path = save(moments_arrays(**{f"{kind}__layer10": None for kind in left_out}))
    assert {layer.name: layer.second_moments for layer in describe_path(path).layers}["layer10"] == expected


def test_memory_stays_flat(tmp_path):
    dim = 3000
    tensors = {"classes": np.arange(2), "counts": np.ones(2, int), "scatter.a": np.ones(2)}
    tensors |= {"means.a": np.ones((2, dim)), "scatter_matrix.a": np.ones((dim, dim))}  # 69 MiB
    np.savez(tmp_path / "f.npz", **tensors)
    del tensors
    tracemalloc.start()
    with open_features(tmp_path / "f.npz", max_inflated_bytes=2**27) as file:
        assert describe(file).layers[0].second_moments == "matrix"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20


def part(second_moments=None, *, dim=3, dtype="float32", counts=None, ood_samples=0, **splits):
    counts = {0: 2, 1: 1} if counts is None else counts
    layer = LayerInfo("a", dim, dtype, None, ood_samples, second_moments)
    return FeaturesDescription(sum(counts.values()), counts, (layer,), **splits)


KINDS = [None, "matrix", "projection", "trace"]


@pytest.mark.parametrize("kinds", [(kind,) for kind in KINDS] + list(itertools.product(KINDS, repeat=2)))
def test_the_whole_knows_what_the_least_of_its_parts_knows(kinds):
    if len(kinds) == 1 or set(kinds) == {None}:
        expected = kinds[0]
    else:
        expected = "matrix" if set(kinds) <= {None, "matrix"} else "trace"
    assert merge_descriptions([part(kind) for kind in kinds]).layers[0].second_moments == expected


def test_parts_of_both_kinds_add_up():
    merged = merge_descriptions([part("trace", counts={3: 7}, ood_samples=2), part(ood_samples=1), part("matrix")])
    assert (merged.num_samples, merged.class_counts) == (13, {0: 4, 1: 2, 3: 7})
    assert merged.layers == (LayerInfo("a", 3, "float32", None, 3, "trace"),)


def test_dtypes_may_differ_between_kinds_and_not_within_them():
    merge_descriptions([part(dtype="float16"), part("trace", dtype="float64"), part(dtype="float16")])
    with pytest.raises(InvalidFeatures, match=r"\(N, 3\) float32 in one part, \(N, 3\) float16") as caught:
        merge_descriptions([part("trace", dtype="float64"), part(dtype="float16"), part(dtype="float32")])
    assert caught.value.tensor == "features.a"
    with pytest.raises(InvalidFeatures, match=r"\(K, 3\) float64 in one part, \(K, 3\) float32") as caught:
        merge_descriptions([part(), part("trace", dtype="float32"), part("matrix", dtype="float64")])
    assert caught.value.tensor == "means.a"


def test_dims_agree_between_kinds():
    with pytest.raises(InvalidFeatures, match=r"\(K, 4\) float32 in one part, \(N, 3\) float32"):
        merge_descriptions([part(), part("trace", dim=4)])


def test_moments_do_not_go_with_parts_that_have_splits():
    with pytest.raises(InvalidFeatures, match="moments have none: then send each split as a set of its own"):
        merge_descriptions([part(split_class_counts={0: {0: 2, 1: 1}}), part("trace")])


def test_parts_have_no_more_samples_than_can_be_counted():
    with pytest.raises(InvalidFeatures, match=r"2\*\*53 are allowed"):
        merge_descriptions([part("trace", counts={0: 2**53}), part("trace")])


def test_a_whole_set_needs_two_samples_and_two_classes():
    check_complete(part("trace", counts={0: 1, 1: 1}))
    for counts, words in (({4: 1}, "1 sample"), ({4: 5}, "label 4")):
        with pytest.raises(InvalidFeatures, match=words) as caught:
            check_complete(part("trace", counts=counts))
        assert caught.value.tensor == "classes"


def accumulated(features, class_indices, num_classes, second_moments="trace"):
    moments = Moments(num_classes=num_classes, dim=features.shape[1], second_moments=second_moments)
    moments.update(torch.as_tensor(features), torch.as_tensor(class_indices))
    return moments


def moments_of(features, class_indices, classes):
    """Class means, scatter and scatter matrix of these classes, as the definitions say."""
    means = np.stack([features[class_indices == index].mean(axis=0) for index in classes])
    deviations = features - means[np.searchsorted(classes, class_indices)]
    scatter = [(deviations[class_indices == index] ** 2).sum() for index in classes]
    return means, np.array(scatter), deviations.T @ deviations


def test_what_a_training_process_accumulated_is_written(tmp_path):
    generator = np.random.default_rng(0)
    class_indices = np.array([0, 1, 3, 3, 1, 0, 3, 3, 3])  # nothing of class 2
    features = {layer: generator.normal(size=(9, dim)) + 100 for layer, dim in (("z", 5), ("a", 3))}
    kinds = {"z": "matrix", "a": "trace"}
    moments = {layer: accumulated(features[layer], class_indices, 4, kinds[layer]) for layer in features}
    projection = ProjectedScatter(moments["a"])
    projection.update(torch.as_tensor(features["a"]), torch.as_tensor(class_indices))
    write_moments(
        tmp_path / "f",
        classes=torch.tensor([20, 10, 30, 15]),
        moments=moments,
        weights={"a": np.ones((4, 3), np.float32)},
        biases={"a": [0.5] * 4},
        ood={"a": torch.ones(6, 3, dtype=torch.bfloat16)},
        projected_scatter={"a": projection.matrix()},
    )
    with safetensors.safe_open(tmp_path / "f", "numpy") as file:
        assert json.loads(file.metadata()["layers"]) == ["z", "a"]
    with open_features(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("z", "a")
        assert (file.classes.tolist(), file.counts.tolist()) == ([20, 10, 15], [2, 2, 5])
        for layer, values in features.items():
            means, scatter, scatter_matrix = moments_of(values, class_indices, [0, 1, 3])
            assert np.abs(file.means(layer)).max() < 10  # relative to a sample: the offset is in the shift
            assert np.allclose(file.shift(layer) + file.means(layer), means, rtol=1e-12)
            assert np.allclose(file.scatter(layer), scatter, rtol=1e-10)
            if layer == "z":
                assert np.allclose(file.scatter_matrix(layer), scatter_matrix, rtol=1e-9, atol=1e-10)
            else:
                centred = means - means.mean(axis=0)
                expected = centred @ scatter_matrix @ centred.T
                assert file.scatter_matrix(layer) is None
                assert np.allclose(file.projected_scatter(layer), expected, rtol=1e-9, atol=1e-9)
        assert np.array_equal(file.biases("a"), [0.5] * 4)
        description = describe(file)
    assert description.class_counts == {10: 2, 15: 5, 20: 2}
    assert [layer.second_moments for layer in description.layers] == ["matrix", "projection"]
    assert [layer.ood_samples for layer in description.layers] == [0, 6]


def test_projections_of_classes_that_all_have_samples_are_written_as_they_are(tmp_path):
    features, class_indices = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 3
    moments = accumulated(features, class_indices, 3)
    projection = ProjectedScatter(moments)
    projection.update(torch.as_tensor(features), torch.as_tensor(class_indices))
    matrix = projection.matrix()
    write_moments(tmp_path / "f", classes=range(3), moments={"a": moments}, projected_scatter={"a": matrix})
    with open_features(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert np.array_equal(file.projected_scatter("a"), matrix)


def test_any_object_with_moments_will_do(tmp_path):
    moments = SimpleNamespace(
        counts=[2, 1],
        shift=np.ones((2, 3)),
        offsets=np.zeros((2, 3)),
        scatter=np.array([4.0, 0.0]),
        scatter_matrix=None,
    )
    write_moments(tmp_path / "f", classes=[0, 1], moments={"a": moments})
    with open_features(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert file.counts.tolist() == [2, 1]
        assert np.array_equal(file.shift("a"), np.ones((2, 3)))
        assert file.scatter("a").tolist() == [4.0, 0.0]


class TestRefusedByTheWriter:
    first = accumulated(np.eye(4), np.array([0, 0, 1, 1]), 2)

    def refusal(self, path, **changes):
        given = {"classes": [0, 1], "moments": {"a": self.first}, **changes}
        with pytest.raises(InvalidFeatures) as caught:
            write_moments(path / "f", **given)
        assert list(path.iterdir()) == []
        return caught.value

    def test_layers_that_have_seen_other_samples(self, tmp_path):
        other = accumulated(np.eye(4), np.array([0, 1, 1, 1]), 2)
        error = self.refusal(tmp_path, moments={"a": self.first, "b": other})
        assert "The layers 'a' and 'b' have seen other samples" in error.detail

    def test_no_layers(self, tmp_path):
        assert "at least one layer" in self.refusal(tmp_path, moments={}).detail

    def test_no_samples(self, tmp_path):
        error = self.refusal(tmp_path, moments={"a": Moments(num_classes=2, dim=4)})
        assert error.tensor == "classes"

    def test_labels_that_do_not_fit(self, tmp_path):
        error = self.refusal(tmp_path, classes=[0, 1, 2])
        assert (error.tensor, error.detail) == (
            "classes",
            "Tensor 'classes' has the shape [3], counts [2]: send one row per class.",
        )

    def test_a_projection_that_does_not_fit(self, tmp_path):
        error = self.refusal(tmp_path, projected_scatter={"a": np.eye(3)})
        assert error.tensor == "projected_scatter.a"

    @pytest.mark.parametrize("kind", ["projected_scatter", "weights", "ood"])
    def test_other_layers(self, tmp_path, kind):
        error = self.refusal(tmp_path, **{kind: {"b": np.eye(2)}})
        assert error.tensor == f"{kind}.b"
        assert "without means" in error.detail


def test_samples_are_opened_as_samples(tmp_path):
    write_features(tmp_path / "f", labels=[0, 1], features={"a": np.eye(2)})
    with open_features(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert not isinstance(file, MomentsFile)
        assert file.labels().tolist() == [0, 1]


def test_the_file_is_closed_when_it_is_refused(save, moments_arrays):
    # An open file would be reported as a ResourceWarning, which is an error here.
    with pytest.raises(InvalidFeatures, match="in row 0"):
        open_features(save(moments_arrays(counts=np.zeros(3, int))), max_inflated_bytes=LIMIT)
