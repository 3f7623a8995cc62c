"""What an npz archive may hold."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch

from collapse_client.format import FeatureFile, InvalidFeatures, UnsafeFile, UnsupportedFormat, describe

LIMIT = 2**24


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


LABELS, FEATURES = npy(np.arange(2)), npy(np.ones((2, 1)))


@pytest.fixture
def archive(tmp_path):
    """Write a zip archive of the members given, in order."""

    def write(*members, compression=zipfile.ZIP_STORED):
        path = tmp_path / "f.npz"
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, content in members:
                file.writestr(name, content)
        return path

    return write


def refusal(path, kind=UnsafeFile, limit=LIMIT):
    with pytest.raises(kind) as caught, FeatureFile.open(path, max_inflated_bytes=limit) as file:
        describe(file)
    return caught.value


def with_header(text: bytes, data: bytes = b"") -> bytes:
    """An npy array of version 1.0 with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.array([{}, 1], dtype=object)), "Python objects"),
        (npy(np.array([(1, {})], dtype=[("a", "i4"), ("b", "O")])), "Python objects"),
        (b"\x80\x04K\x01.", "cannot be read"),
        (b"", "cannot be read"),
        (with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}", bytes(15)), "declares"),
        (with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}", bytes(17)), "declares"),
        (with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4611686018427387904)}"), "absurd"),
        (with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 1)}", bytes(8)), "no list of sizes"),
        (with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (True, 1)}", bytes(8)), "no list of sizes"),
        (with_header(b"{'descr': '<f8', 'fortran_order': 1, 'shape': (2, 1)}", bytes(16)), "cannot be read"),
        (with_header(b"[" * 500), "cannot be read"),
        (with_header(b"-" * 900 + b"1"), "cannot be read"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{}", "cannot be read"),
        (b"\x93NUMPY\x03\x00" + FEATURES[8:], "cannot be read"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_lies_or_runs_code_is_unsafe(archive, content, words, compression):
    path = archive(("labels.npy", LABELS), ("features.a.npy", content), compression=compression)
    assert words in refusal(path).detail


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 1), complex), np.array(["a", "b"]), np.ones(2, "M8[s]"), np.ones(2, [("a", "f4")]), np.ones(2, "V2")],
    ids=str,
)
def test_other_dtypes_are_named(archive, array):
    error = refusal(archive(("labels.npy", LABELS), ("features.a.npy", npy(array))), InvalidFeatures)
    assert error.tensor == "features.a"
    assert "float16" in error.detail


def test_members_must_be_arrays(archive):
    assert "readme.txt" in refusal(archive(("labels.npy", LABELS), ("readme.txt", b"hello"))).detail


def test_an_archive_without_arrays_is_no_npz(archive):
    assert "numpy.savez" in refusal(archive(("word/document.xml", b"<a/>")), UnsupportedFormat).detail


def test_a_torch_archive_is_unsafe_with_advice(tmp_path):
    torch.save({"labels": torch.arange(2)}, tmp_path / "f.pt")
    assert "safetensors.torch.save_file" in refusal(tmp_path / "f.pt").detail


def test_a_legacy_torch_file_is_unsafe_with_advice(tmp_path):
    torch.save({"labels": torch.arange(2)}, tmp_path / "f.pt", _use_new_zipfile_serialization=False)
    assert "safetensors.torch.save_file" in refusal(tmp_path / "f.pt").detail


def test_a_member_twice_is_unsafe(archive):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES), ("labels.npy", LABELS))
    assert "comes 2 times" in refusal(path).detail


def test_too_many_members_are_unsafe(archive):
    path = archive(*((f"features.{index}.npy", b"") for index in range(4097)))
    assert "4097 members" in refusal(path).detail


def test_a_directory_of_many_megabytes_is_not_read(archive):
    path = archive(*((f"features.{'a' * 200}{index}.npy", b"") for index in range(5000)))
    assert "directory" in refusal(path).detail


def test_other_compressions_are_unsafe(archive):
    path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES), compression=zipfile.ZIP_BZIP2)
    assert "neither stored nor deflated" in refusal(path).detail


def test_encrypted_members_are_unsafe(archive):
    path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path).detail


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_flipped_bit_is_found_by_its_checksum(archive, compression, order):
    features = np.asarray(np.random.default_rng(0).normal(size=(2, 500)), order=order)
    path = archive(("labels.npy", LABELS), ("features.a.npy", npy(features)), compression=compression)
    content = bytearray(path.read_bytes())
    content[content.index(b"features.a.npy") + 2000] ^= 1
    path.write_bytes(content)
    assert "features.a" in refusal(path).detail


def test_a_cut_archive_is_unsafe(archive):
    path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES))
    whole = path.read_bytes()
    for size in range(4, len(whole)):
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_bomb_is_refused_before_it_inflates(archive):
    zeros = npy(np.zeros((2, 2**21)))  # 32 MiB
    path = archive(("labels.npy", LABELS), ("features.a.npy", zeros), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    tracemalloc.start()
    assert "send the samples in parts" in refusal(path).detail
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def rewrite_directory(path, offset, value, member):
    """Overwrite four bytes of a member's entry in the central directory."""
    content = bytearray(path.read_bytes())
    entry = -1
    for _ in range(member + 1):
        entry = content.index(b"PK\x01\x02", entry + 1)
    struct.pack_into("<I", content, entry + offset, value)
    path.write_bytes(content)


def test_a_directory_that_declares_less_than_inflates_is_unsafe(archive):
    path = archive(
        ("labels.npy", LABELS), ("features.a.npy", npy(np.zeros((2, 2**21)))), compression=zipfile.ZIP_DEFLATED
    )
    rewrite_directory(path, 24, 200_000, member=1)
    assert "declares 200000" in refusal(path).detail


def test_a_directory_that_declares_more_than_inflates_is_unsafe(archive):
    features = with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 100)}", bytes(16))
    path = archive(("labels.npy", LABELS), ("features.a.npy", features), compression=zipfile.ZIP_DEFLATED)
    declared = len(features) - 16 + 1600
    rewrite_directory(path, 24, declared, member=1)
    rewrite_directory(path, 16, zlib.crc32(features), member=1)
    assert "shorter than declared" in refusal(path).detail


def test_members_must_not_overlap(archive):
    path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES))
    rewrite_directory(path, 42, 0, member=1)
    assert "overlap" in refusal(path).detail


def test_a_stored_member_has_one_size(archive):
    path = archive(("labels.npy", LABELS), ("features.a.npy", FEATURES))
    rewrite_directory(path, 24, len(FEATURES) + 8, member=1)
    assert "two sizes" in refusal(path).detail


def test_an_empty_archive_has_no_labels(tmp_path):
    np.savez(tmp_path / "f.npz")
    assert "labels" in refusal(tmp_path / "f.npz", InvalidFeatures).detail
