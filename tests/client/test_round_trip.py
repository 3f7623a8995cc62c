"""Whatever we accept, the libraries read to the same arrays."""

import tempfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_client.format import FeatureFile, describe, write_features

LIMIT = 2**24
LAYER_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
TORCH_DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
LABEL_DTYPES = st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
TRAILING = st.lists(st.integers(1, 4), max_size=3)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_safetensors(data):
    samples = data.draw(st.integers(1, 9))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tensors = {"labels": torch.from_numpy(random.integers(0, 9, samples).astype(data.draw(LABEL_DTYPES)))}
    for layer in data.draw(st.lists(LAYER_NAMES, min_size=1, max_size=4, unique=True)):
        values = torch.from_numpy(random.normal(size=[samples, *data.draw(TRAILING)]))
        tensors[f"features.{layer}"] = values.to(data.draw(TORCH_DTYPES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        if data.draw(st.booleans()):
            safetensors.torch.save_file(tensors, path)
        else:
            features = {name[9:]: value for name, value in tensors.items() if name != "labels"}
            write_features(path, labels=tensors["labels"], features=features)
        read = safetensors.torch.load_file(path)
        with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
            assert describe(file).num_samples == samples
            assert file.labels().tolist() == read["labels"].tolist()
            for layer in file.layers:
                values = read[f"features.{layer}"].reshape(samples, -1)
                expected = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
                tiles = list(file.tiles(layer, data.draw(st.integers(1, 10))))
                assert same_bits(np.concatenate(tiles), expected)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_npz(data):
    samples = data.draw(st.integers(1, 9))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    byte_orders, orders = st.sampled_from("<>"), st.sampled_from("CF")
    labels = random.integers(0, 9, samples).astype(data.draw(byte_orders) + data.draw(LABEL_DTYPES))
    arrays = {}
    for layer in data.draw(st.lists(LAYER_NAMES, min_size=1, max_size=4, unique=True)):
        values = random.normal(size=[samples, *data.draw(TRAILING)])
        dtype = data.draw(byte_orders) + data.draw(st.sampled_from(["f2", "f4", "f8"]))
        arrays[f"features.{layer}"] = np.asarray(values.astype(dtype), order=data.draw(orders))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        with path.open("wb") as file:
            data.draw(st.sampled_from([np.savez, np.savez_compressed]))(file, labels=labels, **arrays)
        with np.load(path) as read, FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
            assert describe(file).num_samples == samples
            assert file.labels().tolist() == read["labels"].tolist()
            assert [f"features.{layer}" for layer in file.layers] == list(arrays)
            for layer in file.layers:
                expected = read[f"features.{layer}"].reshape(samples, -1)
                expected = np.ascontiguousarray(expected.astype(expected.dtype.newbyteorder("=")))
                tiles = list(file.tiles(layer, data.draw(st.integers(1, 10))))
                assert same_bits(np.concatenate(tiles), expected)
