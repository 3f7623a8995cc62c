"""Files that we write, read by the library that everybody uses."""

import json
import stat

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from collapse_client.format import FeatureFile, InvalidFeatures, write_features

LIMIT = 2**24


def test_torch_tensors_come_back(tmp_path):
    tensors = {
        dtype: torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
        for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    }
    features = {str(dtype): value.requires_grad_() for dtype, value in tensors.items()}
    write_features(tmp_path / "f", labels=torch.arange(6), features=features)
    read = safetensors.torch.load_file(tmp_path / "f")
    with FeatureFile.open(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        for dtype, value in tensors.items():
            assert torch.equal(read[f"features.{dtype}"], value)
            (tile,) = file.tiles(str(dtype), 6)
            assert torch.equal(torch.from_numpy(tile).double(), value.double())


def test_arrays_of_any_layout_come_back(tmp_path):
    features = {
        "fortran": np.asfortranarray(np.arange(24.0).reshape(6, 4)),
        "big endian": np.arange(24, dtype=">f4").reshape(6, 4),
        "every other": np.arange(48, dtype=np.float16).reshape(6, 8)[:, ::2],
    }
    weights = {"fortran": torch.arange(8.0).reshape(4, 2).T}
    biases = {"fortran": [0.5, 1.5]}
    write_features(tmp_path / "f", labels=list(range(6)), features=features, weights=weights, biases=biases)
    with FeatureFile.open(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        for layer, values in features.items():
            assert np.array_equal(np.concatenate(list(file.tiles(layer, 4))), values)
        assert np.array_equal(file.weights("fortran"), weights["fortran"])
        assert file.biases("fortran").tolist() == [0.5, 1.5]


def test_layers_keep_the_order_of_the_mapping(tmp_path):
    write_features(tmp_path / "f", labels=[0, 1], features={name: np.eye(2) for name in ("z", "a", "m")})
    with FeatureFile.open(tmp_path / "f", max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("z", "a", "m")
    with safetensors.safe_open(tmp_path / "f", "numpy") as file:
        assert json.loads(file.metadata()["layers"]) == ["z", "a", "m"]


def test_every_tensor_starts_at_a_multiple_of_its_item(tmp_path):
    features = {"a": np.ones((3, 1), np.float16), "b": np.ones((3, 1), np.float64), "c": np.ones((3, 1), np.float32)}
    write_features(tmp_path / "f", labels=np.arange(3, dtype=np.int8), features=features)
    content = (tmp_path / "f").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % (int(entry["dtype"][1:]) // 8) == 0


def test_tensors_that_do_not_fit_leave_no_file(tmp_path):
    with pytest.raises(InvalidFeatures, match="labels has 3"):
        write_features(tmp_path / "f", labels=[0, 1, 2], features={"a": np.eye(2)})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_leaves_the_old_file(tmp_path):
    class Broken:
        dtype, shape = np.dtype("float32"), (2, 2)

        def __array__(self, *_, **__):
            raise RuntimeError("the device is gone")

    write_features(tmp_path / "f", labels=[0, 1], features={"a": np.eye(2)})
    before = (tmp_path / "f").read_bytes()
    with pytest.raises(RuntimeError, match="device"):
        write_features(tmp_path / "f", labels=[0, 1], features={"a": Broken()})
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == before


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    write_features(tmp_path / "f", labels=[0, 1], features={"a": np.eye(2)})
    (tmp_path / "other").touch()
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
