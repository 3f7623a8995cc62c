"""Files whose bytes were changed at random: accepted, or refused with FormatError, and nothing else."""

import io

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_client.format import FormatError, MomentsFile, describe, open_features

SAMPLES = {
    "labels": np.arange(6) % 2,
    "split": np.arange(6, dtype=np.int8) % 3,
    "features.a": np.asfortranarray(np.ones((6, 2, 3))),
    "features.b": np.ones(6, np.float16),
    "weights.b": np.ones((2, 1)),
    "ood.a": np.asfortranarray(np.ones((3, 2, 3))),
}
MOMENTS = {
    "classes": np.array([3, 1]),
    "counts": np.array([2, 4], np.int32),
    "means.a": np.asfortranarray(np.ones((2, 3), np.float16)),
    "shift.a": np.ones((2, 3)),
    "scatter.a": np.ones(2, np.float32),
    "scatter_matrix.a": np.eye(3, dtype=np.float16),
    "projected_scatter.a": np.asfortranarray(np.eye(2)),
    "ood.a": np.ones((1, 3), np.float16),
}


def stream(tensors):
    return safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def archive(save, tensors):
    buffer = io.BytesIO()
    save(buffer, **tensors)
    return buffer.getvalue()


SEEDS = {
    "safetensors": stream(SAMPLES),
    "npz": archive(np.savez, SAMPLES),
    "deflated": archive(np.savez_compressed, SAMPLES),
    "moments safetensors": stream(MOMENTS),
    "moments npz": archive(np.savez, MOMENTS),
    "moments deflated": archive(np.savez_compressed, MOMENTS),
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


def read_samples(file):
    file.labels()
    if file.has_split:
        assert sum(len(tile) for tile in file.split_tiles(4)) == file.num_samples
    for layer in file.layers:
        assert all(len(tile) <= 4 for tile in file.tiles(layer, 4))


def read_moments(file):
    assert len(file.classes) == len(file.counts) > 0
    for layer in file.layers:
        assert file.means(layer).shape == (len(file.classes), file.dim(layer))
        assert (file.scatter(layer) >= 0).all()
        for matrix in (file.shift, file.scatter_matrix, file.projected_scatter):
            matrix(layer)


def read_everything(path):
    """Read all that the file offers; return the refusal, if it is one."""
    try:
        with open_features(path, max_inflated_bytes=2**20) as file:
            describe(file)
            read_moments(file) if isinstance(file, MomentsFile) else read_samples(file)
            for layer in file.layers:
                assert all(len(tile) <= 4 for tile in file.ood_tiles(layer, 4))
                file.weights(layer)
                file.biases(layer)
    except FormatError as refusal:
        return refusal
    return None


@pytest.mark.parametrize("kind", SEEDS)
def test_the_bytes_before_they_are_changed_are_accepted(tmp_path, kind):
    (tmp_path / "f").write_bytes(SEEDS[kind])
    assert read_everything(tmp_path / "f") is None


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
