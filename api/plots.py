"""Figures, drawn when they are asked for and kept for a while: drawing takes a core tenths of a second."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import anyio
from anyio.to_thread import run_sync

from jobs.errors import NotFound
from jobs.tables import StoredReport

Made = TypeVar("Made")
Specification = Mapping[str, Any]
Format = Literal["svg", "png", "vl.json"]
Theme = Literal["light", "dark"]
MEDIA_TYPES: dict[Format, str] = {"svg": "image/svg+xml", "png": "image/png", "vl.json": "application/json"}
DRAWN_AT_ONCE = 2
KEPT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn."""

    identity: str
    """the same for the same figure"""
    specify: Callable[[bool], Specification]
    """the Vega-Lite specification, on a dark ground or not"""


class Plots:
    """Draws outside of the threads that serve other requests; those who wait hold none."""

    def __init__(self, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[str, Format, Theme], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._limiter: anyio.CapacityLimiter | None = None

    async def draw(self, drawing: Drawing, form: Format, theme: Theme = "light") -> bytes:
        """One figure; raises what its `specify` raises."""
        key = (drawing.identity, form, theme)
        kept = self._find(key)
        return await self.in_thread(lambda: self._draw(drawing, *key)) if kept is None else kept

    def _draw(self, drawing: Drawing, identity: str, form: Format, theme: Theme) -> bytes:
        key = (identity, form, theme)
        # Somebody else may have drawn it in the meantime.
        drawn = self._find(key) or _drawn(drawing.specify(theme == "dark"), form)
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._kept_bytes:
                self._kept.popitem(last=False)
        return drawn

    def _find(self, key: tuple[str, Format, Theme]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    async def in_thread(self, work: Callable[[], Made]) -> Made:
        """Do what takes as long as drawing, when it is its turn."""
        if self._limiter is None:  # it belongs to the event loop, which runs by now
            self._limiter = anyio.CapacityLimiter(DRAWN_AT_ONCE)
        return await run_sync(work, limiter=self._limiter)


def _drawn(specification: Specification, form: Format) -> bytes:
    import figures  # with what draws: a good part of the API's memory, for those who want figures

    if form == "vl.json":
        return json.dumps(specification, allow_nan=False).encode()
    return figures.svg(specification) if form == "svg" else figures.png(specification)


def report_figures(report: StoredReport) -> list[tuple[str, str]]:
    """Name and title of each figure that this report has."""
    import figures

    return [(entry.name, entry.title) for entry in figures.names(json.loads(report.body))]


def report_drawing(report: StoredReport, name: str) -> Drawing:
    """One figure of a report; `NotFound`, when it is drawn, tells which there are."""

    def specify(dark: bool) -> Specification:
        import figures

        content: dict[str, Any] = json.loads(report.body)
        try:
            return figures.specification(content, name, dark=dark)
        except figures.UnknownFigure:
            there = ", ".join(entry.name for entry in figures.names(content)) or "none"
            detail = f"The report of job {report.job_id} has no figure {name[:64]!r}; its figures: {there}."
            raise NotFound("plot_not_found", detail) from None

    return Drawing(f"{report.etag} {name}", specify)
