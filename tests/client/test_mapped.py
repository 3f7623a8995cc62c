"""Rows by mapping: the same as by reading, aligned or not, in memory that does not grow."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import save_file

from collapse_client.format.features import FeatureFile


def opened(path):
    return FeatureFile.open(path, max_inflated_bytes=1 << 30)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 3, 50, 1000])
def test_tiles_are_the_rows(tmp_path, dtype, rows):
    features = torch.randn(50, 2, 4).to(dtype)
    save_file({"labels": torch.arange(50) % 3, "features.a": features}, tmp_path / "file")
    with opened(tmp_path / "file") as file:
        tiles = list(file.tiles("a", rows))
        chunks = np.concatenate(list(file.chunks("features.a", 7)))
    assert [len(tile) for tile in tiles[:-1]] == [rows] * (len(tiles) - 1)
    found = np.concatenate(tiles)
    np.testing.assert_array_equal(found, features.reshape(50, 8).float().numpy().astype(found.dtype))
    np.testing.assert_array_equal(found.ravel(), chunks)


def test_a_header_of_odd_length(tmp_path):
    """The format allows it; every number then lies at an odd address."""
    content = safetensors.numpy.save({"labels": np.arange(4), "features.a": np.arange(8.0).reshape(4, 2)})
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip() + b" "
    header += b" " * (1 - len(header) % 2)
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    with opened(tmp_path / "file") as file:
        tiles = list(file.tiles("a", 3))
    assert all(tile.flags.aligned for tile in tiles)
    np.testing.assert_array_equal(np.concatenate(tiles), np.arange(8.0).reshape(4, 2))


def test_writing_to_a_tile_reaches_no_file(tmp_path):
    save_file({"labels": torch.arange(4), "features.a": torch.ones(4, 2)}, tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    with opened(tmp_path / "file") as file:
        [tile] = file.tiles("a", 10)
        tile[:] = 7
    assert (tmp_path / "file").read_bytes() == before
    assert tile[0, 0] == 7  # and it outlives the file


def resident_file_pages():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile")]
    return int(line.split()[1]) * 1024


def test_pages_behind_the_reader_are_let_go(tmp_path):
    size = 64 << 20
    features = np.zeros((size // 4096, 1024), np.float32)
    safetensors.numpy.save_file({"labels": np.arange(len(features)), "features.a": features}, tmp_path / "file")
    most = before = resident_file_pages()
    with opened(tmp_path / "file") as file:
        for tile in file.tiles("a", 512):
            assert tile.sum() == 0
            most = max(most, resident_file_pages())
    assert 2 << 20 <= most - before < 16 << 20
