"""Results on standard output: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from shutil import get_terminal_size

from collapse_client.progress import printable

NOTHING = "–"
"""What stands for null."""
IDENTIFIERS = ("id", "job")
"""Columns that are copied from a terminal, and so are not folded."""
UNFOLDED = 10**6
"""Columns where there is no terminal: programs want a row in one line."""


def print_json(value: object) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def cell(value: object) -> str:
    """Return a value as a table shows it.

    >>> cell(0.000123456), cell(9.0), cell(None), cell(True), cell(["a", "b"])
    ('0.0001235', '9', '–', 'yes', 'a, b')
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return printable(str(value))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header, numbers to the right; on a terminal, texts are folded to its width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(header):
        cells = [row[index] for row in rows]
        numbers = any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in cells)
        short = all(value is None or isinstance(value, (int, float)) for value in cells)
        table.add_column(
            title, justify="right" if numbers else "left", overflow="fold", no_wrap=short or title in IDENTIFIERS
        )
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else UNFOLDED)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one pair a line; a list in as many lines as it needs; what is None is left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    indent = max(map(len, known), default=0) + 2
    room = get_terminal_size().columns - indent  # 80 where there is no terminal
    for name, value in known.items():
        lines = filled(list(map(cell, value)), room) if isinstance(value, list) else [cell(value)]
        print(f"{name:<{indent}}" + f"\n{' ' * indent}".join(lines))


def filled(words: Sequence[str], room: int) -> list[str]:
    """Return words, with commas between them, in lines of so many letters; a word stays in one piece.

    >>> filled(["one", "two words", "three"], 16), filled([], 16)
    (['one, two words,', 'three'], [''])
    """
    lines = [""]
    for index, word in enumerate(words):
        piece = word if index == len(words) - 1 else f"{word},"
        if lines[-1] and len(lines[-1]) + 1 + len(piece) > room:
            lines.append(piece)
        else:
            lines[-1] = f"{lines[-1]} {piece}".lstrip()
    return lines


def moment(time: str | None) -> str | None:
    """Return a time of the service as people read it: to the second, in UTC.

    >>> moment("2026-11-25T09:42:42.123456Z")
    '2026-11-25 09:42:42'
    """
    return None if time is None else time[:19].replace("T", " ")
