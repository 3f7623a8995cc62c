"""What a safetensors header may say."""

import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from collapse_client.format import FeatureFile, InvalidFeatures, UnsafeFile

LIMIT = 2**24


def entry(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


SOUND = {"labels": entry("I64", [2], 0, 16), "features.a": entry("F32", [2, 1], 16, 24)}


def refusal(path, kind=UnsafeFile):
    with pytest.raises(kind) as caught:
        FeatureFile.open(path, max_inflated_bytes=LIMIT)
    return caught.value


def test_the_smallest_sound_file(raw_safetensors):
    with FeatureFile.open(raw_safetensors(SOUND, bytes(24)), max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("a",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features.a": entry("F32", [0, 2**62], 16, 16)}, "absurd shape"),
        ({"features.a": entry("F32", [2**48, 0], 16, 16)}, "absurd shape"),
        ({"features.a": entry("F32", [1] * 33, 16, 20)}, "absurd shape"),
        ({"features.a": entry("F32", [2**40, 2**40], 16, 24)}, "needs"),
        ({"features.a": entry("F32", [-1, 2], 16, 24)}, "no list of sizes"),
        ({"features.a": entry("F32", [2, 1.0], 16, 24)}, "no JSON"),
        ({"features.a": entry("F32", [True, 2], 16, 24)}, "no list of sizes"),
        ({"features.a": entry("F32", None, 16, 24)}, "no list of sizes"),
        ({"features.a": entry("F32", [2, 1], 12, 20)}, "overlap"),
        ({"features.a": entry("F32", [2, 1], 20, 28)}, "between"),
        ({"features.a": entry("F32", [2, 1], 24, 16)}, "needs 8 bytes"),
        ({"features.a": entry("F32", [2, 1], 16, 23)}, "needs 8 bytes"),
        ({"features.a": entry("F32", [2, 1], -8, 0)}, "overlap"),
        ({"features.a": entry("F32", [3, 1], 16, 28)}, "promises 28 bytes of data, the file holds 24"),
        ({"features.a": None}, "must have dtype"),
        ({"features.a": {**entry("F32", [2, 1], 16, 24), "more": 1}}, "must have dtype"),
        ({"features.a": {**entry("F32", [2, 1], 16, 24), "data_offsets": [16]}}, "two integers"),
        ({"features.a": {**entry("F32", [2, 1], 16, 24), "data_offsets": ["16", "24"]}}, "two integers"),
        ({"__metadata__": {"layers": ["a"]}}, "strings only"),
        ({"__metadata__": []}, "strings only"),
    ],
)
def test_a_header_that_lies_is_unsafe(raw_safetensors, changes, words):
    assert words in refusal(raw_safetensors({**SOUND, **changes}, bytes(24))).detail


def test_bytes_that_no_tensor_covers_are_unsafe(raw_safetensors):
    assert "the file holds 25" in refusal(raw_safetensors(SOUND, bytes(25))).detail


def test_a_name_twice_is_unsafe(raw_safetensors):
    text = json.dumps(SOUND)[:-1] + ', "labels": ' + json.dumps(SOUND["labels"]) + "}"
    error = refusal(raw_safetensors(text.encode(), bytes(24)))
    assert "'labels' comes twice" in error.detail


@pytest.mark.parametrize(
    "text",
    [
        b"{" * 100,
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 1_000_000 + b"}",
        b'{"a": NaN}',
        b'{"\xff": 1}',
        b'{"a": 1} and more',
        b"{",
    ],
    ids=["open braces", "deep", "huge number", "NaN", "no UTF-8", "more", "cut"],
)
def test_a_header_that_is_no_json_is_unsafe(raw_safetensors, text):
    assert "JSON" in refusal(raw_safetensors(text)).detail


def test_a_header_of_many_values_is_not_parsed(raw_safetensors):
    path = raw_safetensors(b'{"a":[' + b"[]," * 2_000_000 + b"[]]}")
    tracemalloc.start()
    assert "values" in refusal(path).detail
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_the_header_must_not_be_long(raw_safetensors):
    assert "allowed" in refusal(raw_safetensors(b"{}", length=2**23 + 1)).detail


def test_a_cut_file_is_unsafe(tmp_path):
    path = tmp_path / "f.safetensors"
    safetensors.numpy.save_file({"labels": np.arange(4), "features.a": np.ones((4, 9))}, path)
    whole = path.read_bytes()
    for size in range(9, len(whole)):
        path.write_bytes(whole[:size])
        assert "send it whole" in refusal(path).detail


def test_too_many_tensors_are_unsafe(raw_safetensors):
    header = {f"features.{index}": entry("F32", [0], 0, 0) for index in range(4097)}
    assert "4097 tensors" in refusal(raw_safetensors(header)).detail


def test_a_file_that_shrinks_while_it_is_read_is_unsafe(raw_safetensors):
    header = {**SOUND, "features.a": entry("F32", [2, 10_000], 16, 80_016)}
    path = raw_safetensors(header, bytes(80_016))
    with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(UnsafeFile, match="cut short"):
            list(file.tiles("a", 2))


@pytest.mark.parametrize("code", ["F8_E4M3", "C64", "float32", None, ["F32"]])
def test_other_dtypes_are_named(raw_safetensors, code):
    header = {**SOUND, "features.a": entry(code, [2, 1], 16, 24)}
    error = refusal(raw_safetensors(header, bytes(24)), InvalidFeatures)
    assert error.tensor == "features.a"
    assert "BF16" in error.detail


@pytest.mark.parametrize(
    "name",
    ["features.a\n", "features.\x00", "features.\ud800", "features." + "a" * 1000],
    ids=["line feed", "null", "surrogate", "long"],
)
def test_names_must_be_printable_and_short(raw_safetensors, name):
    header = {"labels": SOUND["labels"], name: SOUND["features.a"]}
    error = refusal(raw_safetensors(header, bytes(24)), InvalidFeatures)
    assert error.detail.isprintable()
    assert len(error.detail) < 400


def save_layers(path, layers, metadata=None):
    tensors = {f"features.{layer}": np.ones((2, 1)) for layer in layers}
    safetensors.numpy.save_file({"labels": np.arange(2), **tensors}, path, metadata=metadata)
    return path


def test_layers_come_in_natural_order(tmp_path):
    path = save_layers(tmp_path / "f", ["layer10", "layer2", "block1.fc", "block01.fc"])
    with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("block01.fc", "block1.fc", "layer2", "layer10")


def test_layers_come_in_the_order_of_the_metadata(tmp_path):
    path = save_layers(tmp_path / "f", ["b", "a", "c"], {"layers": '["c", "a", "b"]', "format": "pt"})
    with FeatureFile.open(path, max_inflated_bytes=LIMIT) as file:
        assert file.layers == ("c", "a", "b")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ('["a"]', "missing: 'b'"),
        ('["a", "b", "c"]', "unknown: 'c'"),
        ('["a", "b", "a"]', "repeated: 'a'"),
        ("a,b", "JSON list"),
        ('{"a": 1}', "JSON list"),
        ("[1, 2]", "JSON list"),
        ("[" * 100_000, "JSON list"),
        ("[" + "1" * 10_000 + "]", "JSON list"),
    ],
)
def test_metadata_must_name_every_layer_once(tmp_path, stated, words):
    path = save_layers(tmp_path / "f", ["a", "b"], {"layers": stated})
    assert words in refusal(path, InvalidFeatures).detail
