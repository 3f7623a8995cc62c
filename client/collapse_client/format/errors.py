"""Why a feature file is refused.

    FormatError
    ├── UnsupportedFormat   unsupported_format   neither safetensors nor npz
    ├── UnsafeFile          unsafe_file          a pickle, a header that lies, an archive that inflates too far
    └── InvalidFeatures     invalid_features     readable, but not the features and labels of a classifier

The text of each says what is wrong and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class FormatError(Exception):
    """`code` is for programs; `detail` says what is wrong and what to do; `tensor` which tensor is wrong, if one is."""

    code: ClassVar[str] = "invalid_features"

    def __init__(self, detail: str, *, tensor: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.tensor = tensor


class UnsupportedFormat(FormatError):
    """Neither safetensors nor npz."""

    code = "unsupported_format"


class UnsafeFile(FormatError):
    """Reading it as it asks to be read could run code, or fill memory or disk."""

    code = "unsafe_file"


class InvalidFeatures(FormatError):
    """The tensors can be read, but break a rule."""

    code = "invalid_features"


def shown(name: object) -> str:
    """`name` as an error message shows it: quoted, escaped and cut, because the sender chose it."""
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:120]}…"
