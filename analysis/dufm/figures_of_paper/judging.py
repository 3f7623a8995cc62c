"""What a statement's verdict rests on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

TREND: Final = 0.5
"""The trend from which on values are said to rise, or to fall where it is as far below 0."""
VANISHED: Final = 1e-3
"""Within-class over between-class variance up to which it is said to have gone to zero."""
SAME_LOSS: Final = 1e-3
"""Losses that differ by less, relative, are one."""


def trend(values: Sequence[float]) -> float | None:
    """How far values rise in the order in which they come: (rising − falling) / (rising + falling) pairs.

    From −1 (none rises) to 1 (none falls); Kendall's τ where no two are equal; None where all are. Equal ones do not
    count: Goodman and Kruskal's γ.

    >>> trend([3, 2, 2, 1]), trend([1, 3, 2]), trend([1, 1])
    (-1.0, 0.3333333333333333, None)
    """
    rising = sum(first < second for first, second in combinations(values, 2))
    falling = sum(first > second for first, second in combinations(values, 2))
    return (rising - falling) / (rising + falling) if rising + falling else None


def falls(values: Sequence[float], *, settled: bool) -> bool | None:
    """Whether the last value lies below the first, and the trend is −0.5 or less. None where runs have not settled."""
    tendency = trend(values)
    if not settled or len(values) < 2:
        return None
    return tendency is not None and tendency <= -TREND and values[-1] < values[0]


def rises(values: Sequence[float], *, settled: bool) -> bool | None:
    """The same the other way round."""
    return falls([-value for value in values], settled=settled)


def is_less(value: float, limit: float, *, settled: bool) -> bool | None:
    """Whether a loss, which only falls, ends below a limit; None where it may yet."""
    if value < limit:
        return True
    return False if settled else None
