"""Files whose bytes were changed at random: accepted, or refused with FormatError, and nothing else."""

import io

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_client.format import FeatureFile, FormatError, describe

TENSORS = {
    "labels": np.arange(6) % 2,
    "features.a": np.asfortranarray(np.ones((6, 2, 3))),
    "features.b": np.ones(6, np.float16),
    "weights.b": np.ones((2, 1)),
}


def archive(save):
    buffer = io.BytesIO()
    save(buffer, **TENSORS)
    return buffer.getvalue()


SEEDS = {
    "safetensors": safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in TENSORS.items()}),
    "npz": archive(np.savez),
    "deflated": archive(np.savez_compressed),
}
# What hurts most: extremes of the fields of a header, and characters of JSON and of npy headers.
NASTY = [b"\xff" * 4, b"\xff" * 8, bytes(4), b"\xff\xff\xff\x7f", b"{", b"}", b"[", b'"', b"9" * 9, b"-", b"PK\x01"]
CHUNKS = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(NASTY))
EDIT = st.tuples(st.floats(0, 1), CHUNKS, st.sampled_from(["replace", "insert", "delete"]))


def changed(seed: bytes, edits) -> bytes:
    content = bytearray(seed)
    for place, chunk, how in edits:
        start = int(place * len(content))
        content[start : start + (0 if how == "insert" else len(chunk))] = b"" if how == "delete" else chunk
    return bytes(content)


def read_everything(path):
    """Read all that the file offers; return the refusal, if it is one."""
    try:
        with FeatureFile.open(path, max_inflated_bytes=2**20) as file:
            describe(file)
            file.labels()
            for layer in file.layers:
                assert all(len(tile) <= 4 for tile in file.tiles(layer, 4))
                file.weights(layer)
                file.biases(layer)
    except FormatError as refusal:
        return refusal
    return None


@pytest.mark.parametrize("kind", SEEDS)
# numpy's own reader warns about headers of Python 2 and odd literals, which is no more than a refusal or a sound file.
@pytest.mark.filterwarnings("default")
def test_changed_bytes(tmp_path, kind):
    path = tmp_path / "f"

    @settings(max_examples=800, deadline=None)
    @given(st.lists(EDIT, min_size=1, max_size=4))
    def run(edits):
        path.write_bytes(changed(SEEDS[kind], edits))
        refusal = read_everything(path)
        assert refusal is None or 0 < len(refusal.detail) < 1000

    run()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x80" + bytes(7) + b"{"]))
def test_random_bytes(tmp_path_factory, content, magic):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(magic + content)
    assert read_everything(path) is not None
