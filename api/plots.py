"""Figures of reports, drawn when they are asked for and kept for a while: drawing takes a core tenths of a second."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import anyio
from anyio.to_thread import run_sync

from jobs.errors import NotFound
from jobs.tables import StoredReport

Drawn = TypeVar("Drawn")
Format = Literal["svg", "png", "vl.json"]
MEDIA_TYPES: dict[Format, str] = {"svg": "image/svg+xml", "png": "image/png", "vl.json": "application/json"}
DRAWN_AT_ONCE = 2
KEPT_BYTES = 32 * 2**20


class Plots:
    """Draws outside of the threads that serve other requests; those who wait hold none."""

    def __init__(self, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[str, str, Format], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._limiter: anyio.CapacityLimiter | None = None

    async def names(self, report: StoredReport) -> list[tuple[str, str]]:
        """Name and title of each figure that this report has."""
        return await self._in_thread(lambda: _names(report))

    async def draw(self, report: StoredReport, name: str, form: Format) -> bytes:
        """One figure; `NotFound` tells which there are."""
        kept = self._find((report.etag, name, form))
        return await self._in_thread(lambda: self._draw(report, name, form)) if kept is None else kept

    def _draw(self, report: StoredReport, name: str, form: Format) -> bytes:
        key = (report.etag, name, form)
        drawn = self._find(key) or _drawn(report, name, form)  # somebody else may have drawn it in the meantime
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._kept_bytes:
                self._kept.popitem(last=False)
        return drawn

    def _find(self, key: tuple[str, str, Format]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    async def _in_thread(self, work: Callable[[], Drawn]) -> Drawn:
        if self._limiter is None:  # it belongs to the event loop, which runs by now
            self._limiter = anyio.CapacityLimiter(DRAWN_AT_ONCE)
        return await run_sync(work, limiter=self._limiter)


def _names(report: StoredReport) -> list[tuple[str, str]]:
    import figures  # with what draws: a good part of the API's memory, for those who want figures

    return [(entry.name, entry.title) for entry in figures.names(json.loads(report.body))]


def _drawn(report: StoredReport, name: str, form: Format) -> bytes:
    import figures

    content: dict[str, Any] = json.loads(report.body)
    try:
        specification = figures.specification(content, name)
    except figures.UnknownFigure:
        there = ", ".join(entry.name for entry in figures.names(content)) or "none"
        raise NotFound(
            "plot_not_found", f"The report of job {report.job_id} has no figure {name[:64]!r}; its figures: {there}."
        ) from None
    if form == "vl.json":
        return json.dumps(specification, allow_nan=False).encode()
    return figures.svg(specification) if form == "svg" else figures.png(specification)
