"""Names as other tools allow them: those of runs and layers may be anything."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping

LONGEST_FOLDER = 200
"""Bytes; file systems take 255."""
LONGEST_KEY = 250
"""Characters of a metric's name in MLflow."""


def folder_name(run: str) -> str:
    """Return a run's name as that of one folder, whatever is in it.

    >>> folder_name("größer, 2"), folder_name("../a/b"), folder_name("..")
    ('größer, 2', '..%2Fa%2Fb', '%2E%2E')
    """
    name = re.sub(r'[\\/:*?"<>|%]', lambda found: f"%{ord(found[0]):02X}", run)
    if set(name) <= {"."}:
        return name.replace(".", "%2E")
    if len(name.encode()) <= LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(run.encode()).hexdigest()[:12]
    return f"{name.encode()[: LONGEST_FOLDER - 13].decode(errors='ignore')}-{digest}"


def metric_keys(names: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """Name each pair of metric and layer as MLflow allows; two that would be called alike get a digest.

    >>> list(metric_keys([("rank", "head.2"), ("rank", "a*b"), ("rank", "a?b"), ("rank", "..")]).values())
    ['rank/head.2', 'rank/a_b-d141284a', 'rank/a_b-8d6fa42d', 'rank/_..']
    """
    plain = {pair: _allowed("/".join(pair)) for pair in dict.fromkeys(names)}
    number = Counter(plain.values())
    return {
        pair: _distinct(key, pair) if number[key] > 1 or len(key) > LONGEST_KEY else key for pair, key in plain.items()
    }


def _allowed(name: str) -> str:
    """Only letters, digits and _ - . space / stay, and no part that a path would resolve away."""
    parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
    return posixpath.join(*(f"_{part}" if part in ("", ".", "..") else part for part in parts))


def _distinct(key: str, pair: tuple[str, str]) -> str:
    digest = hashlib.sha256("\0".join(pair).encode()).hexdigest()[:8]
    return f"{key[: LONGEST_KEY - 9]}-{digest}"
