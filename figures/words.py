"""Names from outside, made fit to stand in a figure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LONGEST: Final = 28


def cut(name: str, longest: int = LONGEST) -> str:
    """The name on one line, its middle left out where it is too long: the ends tell layers apart.

    >>> cut("backbone.block.3.conv.weight", longest=13)
    'backbo…weight'
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if len(line) <= longest:
        return line
    half = (longest - 1) // 2
    return f"{line[:half]}…{line[len(line) - half :]}"


def labels(names: Iterable[str]) -> list[str]:
    """Each name cut; where that makes two alike, or leaves nothing, with its position.

    >>> labels(["a", "b", ""])
    ['a', 'b', '#3']
    """
    shortened = [cut(name) for name in names]
    return [
        label if label and shortened.count(label) == 1 else f"{label} #{position}".strip()
        for position, label in enumerate(shortened, 1)
    ]


def number(value: float) -> str:
    """Four digits.

    >>> number(0.09917991), number(5)
    ('0.09918', '5')
    """
    return f"{value:.4g}"
