"""What the tensors of a moments file must be: the same words for every format."""

import numpy as np
import pytest

from collapse_client.format import FeatureFile, InvalidFeatures, MomentsFile, TensorInfo, describe, open_features
from collapse_client.format.moments_rules import check_moments

LIMIT = 2**24


@pytest.fixture
def refusal(refusal_of, moments_arrays):
    return lambda **changes: refusal_of(moments_arrays(**changes))


@pytest.mark.parametrize(
    ("changes", "tensor", "words"),
    [
        ({"classes": None}, "classes", "add the label of each class"),
        ({"classes": np.arange(3.0)}, "classes", "is float64"),
        ({"classes": np.zeros((3, 1), int)}, "classes", "has [3, 1]"),
        ({"classes": np.zeros(0, int), "counts": np.zeros(0, int)}, "classes", "has [0]"),
        ({"classes": np.arange(10_001), "counts": np.ones(10_001, int)}, "classes", "1 to 10000"),
        ({"classes": np.array([3, 1, 3])}, "classes", "has 3 in rows 0 and 2"),
        ({"classes": np.array([3, 1, -4])}, "classes", "has -4 in row 2"),
        ({"classes": np.array([3, 2**63, 1], np.uint64)}, "classes", "has 9223372036854775808 in row 1"),
        ({"counts": None}, "counts", "add the number of samples of each class"),
        ({"counts": np.ones(3)}, "counts", "is float64"),
        ({"counts": np.ones(2, int)}, "counts", "has the shape [2], classes [3]"),
        ({"counts": np.array([1, 0, 2])}, "counts", "has 0 in row 1 (counted from 0): leave out classes without"),
        ({"counts": np.array([1, 2, -2])}, "counts", "has -2 in row 2"),
        ({"counts": np.array([1, 1, 2**53 - 1])}, "counts", "2**53 are allowed"),
        ({"counts": np.full(3, 2**64 - 1, np.uint64)}, "counts", "has 55340232221128654845 samples in total"),
        ({"means__layer2": np.ones((2, 4))}, "means.layer2", "has the shape [2, 4]: send (3, dim)"),
        ({"means__layer2": np.ones((3, 0))}, "means.layer2", "send (3, dim)"),
        ({"means__layer2": np.ones(3)}, "means.layer2", "send (3, dim)"),
        ({"means__layer2": np.ones((3, 2, 2))}, "means.layer2", "send (3, dim)"),
        ({"means__layer2": np.ones((3, 4), int)}, "means.layer2", "is int64"),
        ({"means__": np.ones((3, 4))}, "means.", "1 to 256 characters"),
        ({"shift__layer2": np.ones((3, 5))}, "shift.layer2", "has the shape [3, 5]: send [3, 4]"),
        ({"shift__layer2": np.ones(4)}, "shift.layer2", "has the shape [4]: send [3, 4]"),
        ({"shift__layer3": np.ones((3, 4))}, "shift.layer3", "add `means.layer3`"),
        ({"scatter__layer2": None}, "scatter.layer2", "add the sum of the squared distances"),
        ({"scatter__layer2": np.ones((3, 1))}, "scatter.layer2", "has the shape [3, 1]: send [3]"),
        ({"scatter__layer2": np.ones(3, int)}, "scatter.layer2", "is int64"),
        ({"scatter__layer2": np.array([1.0, 0.0, -1e-9])}, "scatter.layer2", "is negative, first in row 2"),
        ({"scatter_matrix__layer2": np.eye(3)}, "scatter_matrix.layer2", "has the shape [3, 3]: send [4, 4]"),
        ({"scatter_matrix__layer3": np.eye(4)}, "scatter_matrix.layer3", "add `means.layer3`"),
        ({"projected_scatter__layer2": np.eye(4)}, "projected_scatter.layer2", "has the shape [4, 4]: send [3, 3]"),
        ({"weights__layer10": np.ones((3, 5))}, "weights.layer10", "send (outputs, 4)"),
        ({"biases__layer10": np.ones(4)}, "biases.layer10", "its weights [3, 4]"),
        ({"weights__layer3": np.ones((3, 5))}, "weights.layer3", "add `means.layer3`"),
        ({"ood__layer10": np.ones((9, 5))}, "ood.layer10", "'means.layer10' has 4 numbers in a row"),
        ({"split": np.zeros(3, int)}, "split", "send each split as a set of its own"),
        ({"mean__layer2": np.ones((3, 4))}, "mean.layer2", "allowed are classes, counts, means.<layer>"),
        ({"counts__layer2": np.ones(3, int)}, "counts.layer2", "allowed are"),
    ],
)
def test_each_rule_names_its_tensor(refusal, changes, tensor, words):
    error = refusal(**changes)
    assert error.tensor == tensor
    assert words in error.detail


def test_means_are_needed(refusal_of):
    error = refusal_of({"classes": np.arange(3), "counts": np.ones(3, int)})
    assert "add a tensor `means.<layer>`" in error.detail


def test_wide_matrices_are_left_out():
    def infos(dim):
        shapes = {
            "classes": (1,),
            "counts": (1,),
            "means.a": (1, dim),
            "scatter.a": (1,),
            "scatter_matrix.a": (dim, dim),
        }
        dtypes = {"classes": "int64", "counts": "int64"}
        return {name: TensorInfo(name, dtypes.get(name, "float32"), shape) for name, shape in shapes.items()}

    check_moments(infos(8192))
    with pytest.raises(InvalidFeatures, match="8193 rows, 8192 are allowed: leave it out") as caught:
        check_moments(infos(8193))
    assert caught.value.tensor == "scatter_matrix.a"


@pytest.mark.parametrize("added", ["labels", "features.layer2"])
@pytest.mark.parametrize("moments", ["classes", "counts", "means.layer2", "scatter.layer10"])
def test_samples_and_moments_do_not_mix(refusal_of, arrays, moments_arrays, added, moments):
    tensors = {added: arrays()[added], moments: moments_arrays()[moments]}
    error = refusal_of(tensors)
    assert "mixes samples" in error.detail
    assert error.tensor == moments
    assert added in error.detail


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "tensor", ["means", "shift", "scatter", "scatter_matrix", "projected_scatter", "weights", "biases"]
)
def test_the_first_row_that_is_not_finite_is_named(refusal, moments_arrays, tensor, value):
    values = moments_arrays()[f"{tensor}.layer10"].copy()
    values[1:] = value
    error = refusal(**{f"{tensor}__layer10": values})
    assert error.tensor == f"{tensor}.layer10"
    assert "row 1 (counted from 0)" in error.detail


@pytest.mark.parametrize("kind", ["scatter_matrix", "projected_scatter"])
def test_matrices_are_symmetric(refusal, moments_arrays, kind):
    matrix = moments_arrays()[f"{kind}.layer10"].copy()
    largest = np.abs(matrix).max()
    matrix[0, 2] += 2e-6 * largest
    error = refusal(**{f"{kind}__layer10": matrix})
    assert error.tensor == f"{kind}.layer10"
    assert "[0, 2] and [2, 0] differ" in error.detail


@pytest.mark.parametrize("kind", ["scatter_matrix", "projected_scatter"])
def test_diagonals_are_not_negative(refusal, moments_arrays, kind):
    matrix = moments_arrays()[f"{kind}.layer10"].copy()
    matrix[2, 2] = -0.5
    error = refusal(**{f"{kind}__layer10": matrix})
    assert error.tensor == f"{kind}.layer10"
    assert "-0.5 on its diagonal in row 2" in error.detail


def test_what_rounding_leaves_is_accepted(save, moments_arrays, describe_path):
    matrix = moments_arrays()["scatter_matrix.layer10"].copy()
    largest = np.abs(matrix).max()
    matrix[0, 2] += 5e-7 * largest
    matrix[:, 1] = matrix[1] = 0
    matrix[1, 1] = -5e-7 * largest
    layers = {layer.name: layer for layer in describe_path(save(moments_arrays(scatter_matrix__layer10=matrix))).layers}
    assert layers["layer10"].second_moments == "matrix"


def test_differences_beyond_the_largest_number_are_no_accident(refusal):
    matrix = np.diag(np.full(4, 1e308))
    matrix[1, 3], matrix[3, 1] = 1.5e308, -1.5e308
    assert "not symmetric" in refusal(scatter_matrix__layer10=matrix).detail


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_matrices_are_compared_tile_by_tile(tmp_path, moments_arrays, monkeypatch, order):
    monkeypatch.setattr("collapse_client.format.symmetry.CHUNK_ITEMS", 3 * 40)
    half = np.random.default_rng(0).normal(size=(50, 40))
    matrix = half.T @ half
    tensors = {"classes": np.arange(2), "counts": np.ones(2, int), "scatter.a": np.ones(2), "means.a": np.ones((2, 40))}

    def described(matrix):
        np.savez(tmp_path / "f.npz", **tensors, **{"scatter_matrix.a": np.asarray(matrix, order=order)})
        with open_features(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
            return describe(file)

    assert described(matrix).layers[0].second_moments == "matrix"
    for row, column in ((0, 39), (39, 0), (17, 31), (38, 37)):
        wrong = matrix.copy()
        wrong[row, column] += 1
        with pytest.raises(InvalidFeatures, match=rf"\[({row}, {column}|{column}, {row})\] and"):
            described(wrong)
        wrong = matrix.copy()
        wrong[row, row] = -1
        with pytest.raises(InvalidFeatures, match=f"-1 on its diagonal in row {row} "):
            described(wrong)


def test_each_class_refuses_the_other_kind(save, arrays, moments_arrays):
    with pytest.raises(InvalidFeatures, match="holds moments, not samples: open it with `open_features`"):
        FeatureFile.open(save(moments_arrays()), max_inflated_bytes=LIMIT)
    with pytest.raises(InvalidFeatures, match="holds no moments: open it with `open_features`"):
        MomentsFile.open(save(arrays()), max_inflated_bytes=LIMIT)
