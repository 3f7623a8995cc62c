"""What every sound file gives, whatever its format."""

import pickle

import numpy as np
import pytest

from collapse_client.format import FeatureFile, UnsupportedFormat, sniff
from collapse_client.format.errors import UnsafeFile

LIMIT = 2**24


def test_tensors_come_back(save, arrays):
    tensors = arrays()
    with FeatureFile.open(save(tensors), max_inflated_bytes=LIMIT) as file:
        assert file.num_samples == 12
        assert file.labels().tolist() == tensors["labels"].tolist()
        for layer in file.layers:
            tiles = list(file.tiles(layer, 5))
            assert [len(tile) for tile in tiles] == [5, 5, 2]
            assert np.array_equal(np.concatenate(tiles), tensors[f"features.{layer}"])
        assert np.array_equal(file.weights("layer2"), tensors["weights.layer2"])
        assert np.array_equal(file.biases("layer2"), tensors["biases.layer2"])
        assert file.weights("layer10") is None
        assert file.biases("layer10") is None


@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 2, 3), (12, 2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_trailing_axes_are_flattened_whatever_the_order_of_the_bytes(tmp_path, arrays, shape, order, byte_order):
    logical = np.arange(np.prod(shape), dtype=f"{byte_order}f4").reshape(shape)
    np.savez(tmp_path / "f.npz", **arrays(features__x=np.asarray(logical, order=order)))
    with FeatureFile.open(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        tiles = list(file.tiles("x", 5))
        assert all(tile.flags.c_contiguous and tile.dtype == np.dtype("=f4") for tile in tiles)
        assert np.array_equal(np.concatenate(tiles), logical.reshape(12, -1))


def test_fortran_weights(tmp_path, arrays):
    weights = np.asfortranarray(np.arange(20.0).reshape(5, 4))
    np.savez(tmp_path / "f.npz", **arrays(weights__layer2=weights))
    with FeatureFile.open(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        assert np.array_equal(file.weights("layer2"), weights)


def test_two_layers_can_be_read_in_turns(save, arrays):
    tensors = arrays(features__layer10=np.ones((12, 4), np.float32))
    with FeatureFile.open(save(tensors), max_inflated_bytes=LIMIT) as file:
        for start, (first, second) in enumerate(zip(file.tiles("layer2", 1), file.tiles("layer10", 1), strict=True)):
            assert np.array_equal(first[0], tensors["features.layer2"][start])
            assert np.array_equal(second[0], np.ones(4))


def test_layers_of_npz_keep_the_order_of_the_archive(tmp_path):
    features = {f"features.{layer}": np.ones((2, 1)) for layer in ("z", "layer10", "layer2")}
    np.savez(tmp_path / "f.npz", labels=np.arange(2), **features)
    with FeatureFile.open(tmp_path / "f.npz", max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("z", "layer10", "layer2")


def test_the_file_is_closed_when_it_is_refused(save, arrays):
    # An open file would be reported as a ResourceWarning, which is an error here.
    with pytest.raises(Exception, match="labels"):
        FeatureFile.open(save(arrays(labels=None)), max_inflated_bytes=LIMIT)


@pytest.mark.parametrize(
    ("head", "advice"),
    [(b"", "empty"), (b"hello, world of", "neither"), (b"\x93NUMPY\x01\x00", "numpy.savez"), (b"\x89HDF", "neither")],
)
def test_other_formats_are_not_supported(head, advice):
    with pytest.raises(UnsupportedFormat, match=advice) as refusal:
        sniff(head)
    assert refusal.value.code == "unsupported_format"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_unsafe(protocol):
    with pytest.raises(UnsafeFile, match="safetensors") as refusal:
        sniff(pickle.dumps({"labels": [0, 1]}, protocol=protocol)[:16])
    assert refusal.value.code == "unsafe_file"


def test_a_header_length_that_looks_like_a_pickle_is_none():
    assert sniff((0x0280).to_bytes(8, "little") + b'{"labels"') == "safetensors"
