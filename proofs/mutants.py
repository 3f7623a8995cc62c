"""Feature files that are almost right: what a broken writer, a cut line or somebody clever would send."""

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from feature_files import feature_arrays, moments_of
from safetensors.numpy import save

NUMBERS = (0, 1, -1, 2, 7, 255, 2**16, 2**31, 2**32 - 1, 2**48, 2**62, 2**63, 2**64, 10**30, -(2**63), 1.5, 1e308)
STRINGS = ("", "labels", "features.a", "features.", "weights.a", "classes", "counts", "means.a", "split", "ood.a", "\0",
           "F32", "F64", "BF16", "I64", "BOOL", "F8_E4M3", "é" * 400, "../../etc/passwd", "__metadata__")  # fmt: skip
LARGEST = 2**16
"""Of a mutant, in bytes; and 64 times as much of what it inflates to, if it is to be changed again."""
DESCRIPTIONS = (
    "|O",
    "<f4",
    ">f8",
    "<i8",
    "|b1",
    "<U4",
    "<M8[s]",
    "<c8",
    "|V8",
    "<f2",
    "<u8",
    "f4" * 50,
    "[('a','<f4')]",
)


def valid_files() -> list[bytes]:
    """Files of every kind, which must be taken: features and moments, safetensors and npz, with all their tensors."""
    arrays = feature_arrays(num_samples=12, num_classes=3, dims=(3, 2))
    rich = {**arrays, "split": np.arange(12) % 2, "ood.layer0": np.ones((4, 3), np.float32)}
    rich["biases.layer1"] = np.zeros(3, np.float32)
    moments = moments_of(arrays)
    half = {**arrays, "features.layer0": arrays["features.layer0"].astype(np.float16)}
    return [save(rich), save(arrays), save(half, {"layers": '["layer1", "layer0"]'}), save(moments),
            _npz(rich), _npz(moments), _npz(arrays, compressed=True)]  # fmt: skip


def mutant(content: bytes, lot: random.Random) -> bytes:
    """The same file with one to three things wrong."""
    for _ in range(lot.choice((1, 1, 2, 3))):
        if content[:2] == b"PK" and lot.random() < 0.6:
            content = _archive_changed(content, lot)
        elif content[8:9] == b"{" and lot.random() < 0.7:
            content = _header_changed(content, lot)
        else:
            content = lot.choice(BYTES)(content, lot)
        content = content[:LARGEST]
    return content


# -- bytes -------------------------------------------------------------------------------------------------------------


def _place(content: bytes, lot: random.Random) -> int:
    # Most of what can go wrong is said at the beginning, in an archive at the end.
    near = lot.randrange(64) if lot.random() < 0.5 else lot.randrange(len(content) + 1)
    return min(near, len(content)) if lot.random() < 0.7 else max(len(content) - near, 0)


def _flipped(content: bytes, lot: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(lot.choice((1, 1, 2, 8))):
        place = _place(content, lot)
        changed[place : place + 1] = bytes([lot.choice((0, 1, 0x7F, 0x80, 0xFF, lot.randrange(256)))])
    return bytes(changed)


def _cut(content: bytes, lot: random.Random) -> bytes:
    return content[: _place(content, lot)]


def _grown(content: bytes, lot: random.Random) -> bytes:
    place = _place(content, lot)
    return content[:place] + lot.randbytes(lot.choice((1, 8, 200))) + content[place:]


def _repeated(content: bytes, lot: random.Random) -> bytes:
    start, stop = sorted((_place(content, lot), _place(content, lot)))
    return content[:stop] + content[start:stop] * lot.choice((1, 2, 50)) + content[stop:]


BYTES = (_flipped, _flipped, _flipped, _cut, _grown, _repeated)

# -- the JSON header of safetensors ------------------------------------------------------------------------------------


def _header_changed(content: bytes, lot: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    try:
        entries = json.loads(content[8 : 8 + length])
        text = json.dumps(_value_changed(entries, lot) if lot.random() < 0.8 else entries)
    except (ValueError, TypeError, RecursionError):
        return lot.choice(BYTES)(content, lot)
    if lot.random() < 0.15:
        text = lot.choice(TEXTS)(text, lot)
    header = text.encode("utf-8", "surrogatepass")
    told = len(header) if lot.random() < 0.95 else lot.choice((0, 1, len(header) - 1, len(header) + 1, 2**23, 2**63))
    return max(told, 0).to_bytes(8, "little") + header + content[8 + length :]


TEXTS: tuple[Callable[[str, random.Random], str], ...] = (
    lambda text, lot: "{" + text[1:-1] + ", " + text[1:],  # every name twice
    lambda text, lot: text.replace("[", "[" * lot.choice((2, 900, 5000)), 1),
    lambda text, lot: text.replace("0", lot.choice(("NaN", "Infinity", "9" * 5000, "-0", "1e999")), 1),
    lambda text, lot: text + " " * lot.choice((1, 5000)),
    lambda text, lot: text[: lot.randrange(len(text))],
)


def _value_changed(value: Any, lot: random.Random) -> Any:
    """One value, somewhere in the tree, is another."""
    if isinstance(value, dict) and value and lot.random() < 0.9:
        name = lot.choice(list(value))
        others = {other: entry for other, entry in value.items() if other != name}
        if lot.random() < 0.1:
            return others
        renamed = lot.choice((*STRINGS, *value)) if lot.random() < 0.15 else name
        return {**others, renamed: _value_changed(value[name], lot)}
    if isinstance(value, list) and value and lot.random() < 0.8:
        place = lot.randrange(len(value))
        return [*value[:place], _value_changed(value[place], lot), *value[place + lot.choice((0, 1, 1, 1)) :]]
    if isinstance(value, int) and lot.random() < 0.5:
        return value + lot.choice((-1, 1, 4, 8, 2**32))
    return lot.choice((*NUMBERS, *STRINGS, None, True, [], {}, [[]], {"a": 1}))


# -- the archive of npz ------------------------------------------------------------------------------------------------


def _archive_changed(content: bytes, lot: random.Random) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > 64 * LARGEST:
                return lot.choice(BYTES)(content, lot)
            members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    except Exception:  # already broken, in whatever way
        return lot.choice(BYTES)(content, lot)
    if not members:
        return lot.choice(BYTES)(content, lot)
    place = lot.randrange(len(members))
    name, stored = members[place]
    members[place : place + 1] = lot.choice(MEMBERS)(name, stored, lot)
    written = io.BytesIO()
    method = lot.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(written, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        for name, stored in members:
            archive.writestr(name.partition("\0")[0] or "nameless", stored)
    rebuilt = written.getvalue()
    return _sizes_lied(rebuilt, lot) if lot.random() < 0.3 else rebuilt


Member = list[tuple[str, bytes]]


def _renamed(name: str, stored: bytes, lot: random.Random) -> Member:
    return [(lot.choice((f"{lot.choice(STRINGS)}.npy", "data.pkl", "x/data.pkl", "labels", "a.npy.npy")), stored)]


def _twice(name: str, stored: bytes, lot: random.Random) -> Member:
    return [(name, stored), (name, stored)]


def _gone(name: str, stored: bytes, lot: random.Random) -> Member:
    return []


def _shortened(name: str, stored: bytes, lot: random.Random) -> Member:
    return [(name, stored[: _place(stored, lot)])]


def _bytes_changed(name: str, stored: bytes, lot: random.Random) -> Member:
    return [(name, _flipped(stored, lot))]


def _bomb(name: str, stored: bytes, lot: random.Random) -> Member:
    return [(name, stored + bytes(lot.choice((1_000, 300_000))))]


def _npy_header_changed(name: str, stored: bytes, lot: random.Random) -> Member:
    shape = tuple(lot.choice(NUMBERS) for _ in range(lot.randrange(4)))
    order, described = lot.choice((True, False, 0)), lot.choice(DESCRIPTIONS)
    text = f"{{'descr': '{described}', 'fortran_order': {order}, 'shape': {shape}, }}"
    text = lot.choice((text, text, text, "(" * 300, "{}", "[" * 90 + "]" * 90, "__import__('os')", text * 20))
    version = lot.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    header = (text + "\n").encode()
    size = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little", signed=False)
    return [(name, b"\x93NUMPY" + version + size + header + stored[128:])]


MEMBERS = (_renamed, _twice, _gone, _shortened, _bytes_changed, _bytes_changed, _bomb, _npy_header_changed)


def _sizes_lied(content: bytes, lot: random.Random) -> bytes:
    """Another number in an entry of the central directory: method, sizes, flags, offsets."""
    changed = bytearray(content)
    starts = [place for place in range(len(content) - 46) if content[place : place + 4] == b"PK\x01\x02"]
    if starts:
        place = lot.choice(starts) + lot.choice((8, 10, 16, 20, 24, 28, 30, 42))
        changed[place : place + 4] = (lot.choice(NUMBERS[:10]) % 2**32).to_bytes(4, "little")
    return bytes(changed)


def _npz(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    written = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(written, **arrays)
    return written.getvalue()
