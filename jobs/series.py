"""Series: what the analyses of a run measured, step by step, and how it compares with another run."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from analysis.metrics import catalogue
from jobs.errors import NotFound
from jobs.store import Analysis, RunContents, RunStore, SeriesRow
from jobs.tables import SUCCEEDED

ROWS_AT_ONCE = 20_000
MOST_JOBS_AT_ONCE = 500
MOST_NAMED = 60
"""Layers or metrics that an error lists."""


class Step(NamedTuple):
    """One step of a run: the analysis that counts, those that it replaced, and the others; the newest first."""

    current: Analysis
    replaced: Sequence[str]
    others: Sequence[str]


def steps(analyses: Sequence[Analysis]) -> list[Step]:
    """The steps of a run, in order; analyses without a step are each by itself, at the end.

    Of the analyses of one kind and step the newest that has succeeded counts, or, while there is none, the newest. It
    replaces those of before that had succeeded.
    """
    by_step: dict[tuple[str, int | str], list[Analysis]] = {}
    for analysis in analyses:
        place = analysis.job_id if analysis.step is None else analysis.step
        by_step.setdefault((analysis.kind, place), []).append(analysis)
    return [_step(group) for group in by_step.values()]


def _step(group: Sequence[Analysis]) -> Step:
    succeeded = [analysis for analysis in group if analysis.status == SUCCEEDED]
    current, *replaced = succeeded or group[:1]
    others = [analysis for analysis in group if analysis.status != SUCCEEDED and analysis is not current]
    return Step(current, [analysis.job_id for analysis in replaced], [analysis.job_id for analysis in others])


@dataclass(frozen=True)
class Wanted:
    """What a series is asked for: all metrics and all layers where none are named.

    compare: another run, whose rows follow. history: those of replaced analyses, too.
    """

    metrics: Sequence[str] = ()
    layers: Sequence[str] = ()
    compare: str | None = None
    history: bool = False


@dataclass(frozen=True)
class OneRun:
    """The analyses of one run that a series is made of, in the order of its rows, and what they measured."""

    name: str
    analyses: Sequence[Analysis]
    contents: RunContents


class Series:
    """Rows of one run, or of two; read block by block, so that memory does not grow with their number.

    Raises NotFound: run_not_found, metric_not_found, layer_not_found.
    """

    def __init__(self, store: RunStore, run: str, wanted: Wanted) -> None:
        self._store, self._wanted = store, wanted
        names = list(dict.fromkeys([run, *([wanted.compare] if wanted.compare is not None else [])]))
        self.runs = [
            OneRun(name, _chosen(store.analyses(name), history=wanted.history), store.contents(name)) for name in names
        ]
        self.metrics = _known("metric", wanted.metrics, [one.contents.metrics for one in self.runs], run)
        self.layers = _known("layer", wanted.layers, [one.contents.layers for one in self.runs], run)

    @cached_property
    def identity(self) -> str:
        """The same for the same rows."""
        asked = {**vars(self._wanted), "runs": [[one.name, [job.job_id for job in one.analyses]] for one in self.runs]}
        return hashlib.sha256(json.dumps(asked, default=list).encode()).hexdigest()

    @property
    def num_steps(self) -> int:
        """Of all runs together."""
        return sum(len(one.analyses) for one in self.runs)

    def blocks(self) -> Iterator[list[SeriesRow]]:
        """The rows: by run, step, layer and metric; without a step last."""
        if not self.metrics or not self.layers:
            return
        size = max(1, min(MOST_JOBS_AT_ONCE, ROWS_AT_ONCE // (len(self.metrics) * len(self.layers))))
        for one in self.runs:
            for start in range(0, len(one.analyses), size):
                yield self.rows(one, one.analyses[start : start + size])

    def rows(self, run: OneRun, analyses: Sequence[Analysis]) -> list[SeriesRow]:
        """The rows of these analyses of a run, in order."""
        place = {analysis.job_id: index for index, analysis in enumerate(analyses)}
        found = self._store.measurements(run.name, list(place), metrics=self.metrics, layers=self.layers)
        return sorted(found, key=lambda row: (place[row.job_id], row.layer_index, row.layer, row.metric))


def _chosen(analyses: Sequence[Analysis], *, history: bool) -> list[Analysis]:
    """Those with a report that count, or all with one, the oldest of a step first."""
    if not history:
        return [step.current for step in steps(analyses) if step.current.status == SUCCEEDED]
    there = [analysis for analysis in analyses if analysis.status == SUCCEEDED]
    oldest_first = sorted(there, key=attrgetter("created_at"))
    return sorted(oldest_first, key=lambda analysis: (analysis.step is None, analysis.step or 0))


def _known(what: str, asked: Sequence[str], there: Sequence[Sequence[str]], run: str) -> list[str]:
    """What is asked for, or all there is. Before the first report of a run, what its reports could have is known."""
    known = list(dict.fromkeys(name for names in there for name in names))
    allowed: Mapping[str, Any] = dict.fromkeys(known) if known else catalogue() if what == "metric" else {}
    unknown = [name for name in asked if name not in allowed]
    if unknown and (known or what == "metric"):
        listed = ", ".join(list(allowed)[:MOST_NAMED]) + (", …" if len(allowed) > MOST_NAMED else "")
        raise NotFound(
            f"{what}_not_found", f"Run {run[:64]!r} has no {what} {unknown[0][:64]!r}; its {what}s: {listed}."
        )
    return list(dict.fromkeys(asked)) or known
