"""The command line: `collapse`. Installed packages add commands through the entry-point group `collapse.commands`.

Exit codes: 0 done, 1 refused or gone wrong, 2 wrong usage, 3 the job failed, 4 it was cancelled, 130 interrupted;
`collapse gate` has its own. What a command needs is imported when it runs: `collapse --help` loads no HTTP, no rich.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from collapse_client.cli import dufm, exports, gate, jobs, optima, reports, runs, submissions
from collapse_client.cli.told import told
from collapse_client.errors import CollapseError, JobFailed

GROUP = "collapse.commands"
EXIT_CODES = {"failed": 3, "cancelled": 4}
"""Of a job that was waited for."""
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no λ shows an escape, and goes on
    parsed = build_parser().parse_args(arguments)
    try:
        code = int(parsed.handler(parsed))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does; nothing must be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _expected() as error:
        print(told(error, parsed.parser), file=sys.stderr)
        return EXIT_CODES[error.job["status"]] if isinstance(error, JobFailed) else 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _expected() -> tuple[type[Exception], ...]:
    """What is told in words; asked for only when something was raised, because the format loads numpy."""
    from collapse_client.format.errors import FormatError

    return (CollapseError, FormatError, OSError)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with the commands of every installed package."""
    parser = argparse.ArgumentParser(prog="collapse", description="Measure how the features of a classifier collapse.")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry_point in _entry_points():
        try:
            entry_point.load()(subparsers)
        except ImportError as error:
            print(f"collapse: the commands of {entry_point.value} cannot be loaded ({error})", file=sys.stderr)
    add_commands(subparsers)
    return parser


def add_commands(subparsers: Any) -> None:
    """Add the client's own commands."""
    for noun in (submissions, dufm, jobs, reports, runs, gate, exports, optima):
        noun.add_commands(subparsers)
    version = subparsers.add_parser("version", help="print the versions of the client and of what adds commands")
    version.set_defaults(handler=_version, parser=version)


def _entry_points() -> Iterable[metadata.EntryPoint]:
    if sys.version_info >= (3, 10):
        return metadata.entry_points(group=GROUP)
    return metadata.entry_points().get(GROUP, ())


def _version(_: argparse.Namespace) -> int:
    print(f"collapse-client {metadata.version('collapse-client')}")
    for entry_point in _entry_points():
        distribution = getattr(entry_point, "dist", None)  # Python 3.9 does not tell
        if distribution is not None:
            print(f"{distribution.metadata['Name']} {distribution.version}")
    return 0
