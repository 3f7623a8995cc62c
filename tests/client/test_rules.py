"""What the tensors of a feature file must be: the same words for every format."""

import numpy as np
import pytest

from collapse_client.format import InvalidFeatures


@pytest.fixture
def refusal(refusal_of, arrays):
    return lambda **changes: refusal_of(arrays(**changes))


@pytest.mark.parametrize(
    ("changes", "tensor", "words"),
    [
        ({"labels": None}, "labels", "add one class index per sample"),
        ({"labels": np.arange(12.0)}, "labels", "is float64"),
        ({"labels": np.arange(12) > 5}, "labels", "is bool"),
        ({"labels": np.zeros((12, 1), int)}, "labels", "(samples,), and has [12, 1]"),
        ({"labels": np.zeros(0, int)}, "labels", "is empty"),
        ({"labels": np.array(3)}, "labels", "has []"),
        ({"labels": np.arange(11), "features__layer10": None}, "features.layer2", "12 rows, labels has 11"),
        ({"labels": np.where(np.arange(12) == 7, -1, 1)}, "labels", "-1 in row 7"),
        ({"labels": np.repeat(np.array([0, 2**63], np.uint64), [4, 8])}, "labels", "9223372036854775808 in row 4"),
        ({"features__layer2": np.ones((11, 4))}, "features.layer2", "11 rows, labels has 12"),
        ({"features__layer2": np.ones((12, 4), int)}, "features.layer2", "is int64"),
        ({"features__layer2": np.ones((12, 0))}, "features.layer2", "at least one number"),
        ({"features__layer2": np.ones((12, 2, 0, 3))}, "features.layer2", "at least one number"),
        ({"features__layer2": np.array(1.0)}, "features.layer2", "at least one number"),
        ({"features__": np.ones(12)}, "features.", "1 to 256 characters"),
        ({"features__" + "a" * 257: np.ones(12)}, "features." + "a" * 257, "1 to 256 characters"),
        ({"weights__layer2": np.ones((5, 3))}, "weights.layer2", "send (outputs, 4)"),
        ({"weights__layer2": np.ones((0, 4))}, "weights.layer2", "send (outputs, 4)"),
        ({"weights__layer2": np.ones(4)}, "weights.layer2", "send (outputs, 4)"),
        ({"weights__layer2": np.ones((5, 4), int)}, "weights.layer2", "is int64"),
        ({"weights__layer3": np.ones((5, 4))}, "weights.layer3", "add `features.layer3`"),
        ({"biases__layer2": np.ones(4)}, "biases.layer2", "its weights [5, 4]"),
        ({"biases__layer2": np.ones((5, 1))}, "biases.layer2", "its weights [5, 4]"),
        ({"biases__layer2": np.ones(5, int)}, "biases.layer2", "is int64"),
        ({"biases__layer3": np.ones(5)}, "biases.layer3", "add `features.layer3`"),
        ({"biases__layer10": np.ones(5)}, "biases.layer10", "add `weights.layer10`"),
        ({"split": np.zeros(12)}, "split", "is float64"),
        ({"split": np.zeros(12, bool)}, "split", "is bool"),
        ({"split": np.zeros(11, int)}, "split", "has the shape [11], labels [12]"),
        ({"split": np.zeros((12, 1), int)}, "split", "has the shape [12, 1], labels [12]"),
        ({"split": np.array(0)}, "split", "has the shape [], labels [12]"),
        ({"split": np.where(np.arange(12) == 9, -1, 1)}, "split", "-1 in row 9"),
        ({"split": np.repeat(np.array([0, 2**63], np.uint64), [4, 8])}, "split", "9223372036854775808 in row 4"),
        ({"split": np.arange(12) % 9}, "split", "more than 8 distinct values"),
        ({"ood__layer2": np.ones((5, 3))}, "ood.layer2", "'features.layer2' has 4 numbers in a row"),
        ({"ood__layer2": np.ones(4)}, "ood.layer2", "has the shape [4]"),
        ({"ood__layer2": np.ones((0, 4))}, "ood.layer2", "send at least one row"),
        ({"ood__layer2": np.array(1.0)}, "ood.layer2", "has the shape []"),
        ({"ood__layer2": np.ones((5, 4), int)}, "ood.layer2", "is int64"),
        ({"ood__layer3": np.ones((5, 4))}, "ood.layer3", "add `features.layer3`"),
        ({"ood": np.ones((5, 4))}, "ood", "allowed are"),
        ({"split__layer2": np.zeros(12, int)}, "split.layer2", "allowed are"),
        ({"feature__layer2": np.ones(12)}, "feature.layer2", "allowed are labels, features.<layer>"),
        ({"weight__layer2": np.ones(12)}, "weight.layer2", "allowed are"),
        ({"label": np.ones(12)}, "label", "allowed are"),
        ({"features": np.ones(12)}, "features", "allowed are"),
        ({"labels__x": np.ones(12)}, "labels.x", "allowed are"),
    ],
)
def test_each_rule_names_its_tensor(refusal, changes, tensor, words):
    error = refusal(**changes)
    assert error.tensor == tensor
    assert words in error.detail


def test_labels_alone_are_not_enough(save, describe_path):
    with pytest.raises(InvalidFeatures, match="no features"):
        describe_path(save({"labels": np.arange(3)}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_first_row_that_is_not_finite_is_named(refusal, value, dtype):
    features = np.ones((12, 3, 2), dtype)
    features[7, 2, 1] = features[9] = value
    error = refusal(features__layer10=features)
    assert error.tensor == "features.layer10"
    assert "row 7 (counted from 0)" in error.detail


@pytest.mark.parametrize(
    ("tensor", "shape"), [("weights__layer2", (5, 4)), ("biases__layer2", (5,)), ("ood__layer2", (7, 2, 2))]
)
def test_what_comes_beside_the_features_must_be_finite(refusal, tensor, shape):
    values = np.ones(shape)
    values[3:] = np.nan
    error = refusal(**{tensor: values})
    assert error.tensor == tensor.replace("__", ".")
    assert "row 3" in error.detail


def test_the_first_row_is_found_in_fortran_order(tmp_path, arrays, describe_path):
    features = np.ones((12, 3), order="F")
    features[8, 0] = features[5, 2] = np.nan
    np.savez(tmp_path / "f.npz", **arrays(features__layer10=features))
    with pytest.raises(InvalidFeatures, match="row 5 "):
        describe_path(tmp_path / "f.npz")


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_labels_of_any_integer_type_count(save, arrays, describe_path, dtype):
    description = describe_path(save(arrays(labels=np.array([7, 3, 3] * 4, dtype))))
    assert description.class_counts == {3: 8, 7: 4}


def test_layer_names_may_be_long_and_of_any_script(save, arrays, describe_path):
    name = "слой-層.0" + "a" * 248
    assert name in [layer.name for layer in describe_path(save(arrays(**{f"features.{name}": np.ones(12)}))).layers]
