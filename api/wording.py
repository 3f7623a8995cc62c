"""Numbers, times, names and lists, as sentences and tables have them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

MOST_NAMED: Final = 8
STRUCTURES: Final = {
    "zero": "zero",
    "dnc": "deep neural collapse",
    "srg": "strongly regular graph",
    "low_rank": "low rank",
    "other": "none of the known ones",
    None: "diverged",
    "simplex_etf": "simplex equiangular tight frame",
    "orthogonal_frame": "orthogonal frame",
    "strongly_regular_graph": "strongly regular graph",
    "none": "none",
}


def number(value: float | None) -> str:
    """Four digits; a dash for what is undefined.

    >>> number(0.09917991), number(10), number(None)
    ('0.09918', '10', '–')
    """
    return "–" if value is None else f"{value:.4g}"


def share(value: float) -> str:
    """A share as per cent.

    >>> share(0.1234)
    '12 %'
    """
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first of many.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(count: int, noun: str) -> str:
    """How many of something.

    >>> counted(1, "layer"), counted(2, "layer")
    ('1 layer', '2 layers')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain(value: Any) -> str:
    """A parameter or a measured thing in a table.

    >>> plain(0.0040000000000001), plain(["a", 1]), plain(None), plain("x")
    ('0.004', '["a", 1]', '–', 'x')
    """
    if value is None or isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def moment(time: str) -> str:
    """A time of the service as people read it.

    >>> moment("2026-11-28T11:45:03.123456Z")
    '28 Nov 2026, 11:45 UTC'
    """
    at = datetime.fromisoformat(time).astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def words(name: str) -> str:
    """A field's name in words."""
    return name.replace("_", " ")
