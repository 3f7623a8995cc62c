"""Which format a file has, told by its first bytes and never by its name."""

from __future__ import annotations

from typing import Literal

from collapse_client.format.errors import UnsafeFile, UnsupportedFormat

SNIFFED_BYTES = 16
MAX_HEADER_BYTES = 8 * 2**20
"""Limit of a safetensors header; 4096 tensors need well under 2 MiB."""

_ADVICE = "send safetensors (safetensors.torch.save_file) or npz (numpy.savez)"


def sniff(head: bytes) -> Literal["safetensors", "npz"]:
    """Tell the format from the first `SNIFFED_BYTES` bytes.

    Raises UnsupportedFormat when it is neither, UnsafeFile when it is a pickle.

    >>> sniff(b"PK" + bytes([3, 4]) + bytes(12))
    'npz'
    """
    if not head:
        raise UnsupportedFormat(f"The file is empty: {_ADVICE}.")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "npz"
    opens_json = head[8:9] == b"{"
    # First, because the length of a safetensors header may begin with the two bytes of a pickle.
    if opens_json and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        raise UnsafeFile(f"This is a pickle, which can run code when it is read: {_ADVICE}.")
    if opens_json:
        return "safetensors"
    if head.startswith(b"\x93NUMPY"):
        raise UnsupportedFormat("This is a single npy array: put labels and features into one file with numpy.savez.")
    raise UnsupportedFormat(f"This is neither safetensors nor npz: {_ADVICE}.")
