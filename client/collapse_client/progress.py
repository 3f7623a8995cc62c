"""How far a job is, on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional

if TYPE_CHECKING:
    from collapse_client.views import JobView

Show = Callable[["JobView"], object]


@contextlib.contextmanager
def progress_bar() -> Iterator[Optional[Show]]:
    """Give what shows a job's view as a bar on standard error, gone at the end; None where that is no terminal.

    Without colours where NO_COLOR is set.

        with progress_bar() as show:
            client.wait(job, on_progress=show)
    """
    if not sys.stderr.isatty():
        yield None
        return
    # Here, because most of those who import the client show no bar.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[remaining]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting", total=1.0, remaining="")

        def show(job: JobView) -> None:
            standing = job["progress"]
            progress.update(
                task,
                completed=standing["fraction"],
                description=printable(standing["phase"] or job["status"]),
                remaining=_remaining(standing["eta_seconds"]),
            )

        yield show


def _remaining(seconds: float | None) -> str:
    return "" if seconds is None else f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.25), duration(75), duration(7260)
    ('0.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def printable(text: str) -> str:
    r"""Return text from elsewhere as a terminal may have it: what moves the cursor or turns lines around is escaped.

    >>> printable("head.2\x1b[2J\n\u202e")
    'head.2\\x1b[2J\\n\\u202e'
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
