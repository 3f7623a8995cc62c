"""Every statement on runs. They have no table: a run is the jobs that carry its name."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, or_, select

from jobs.errors import NotFound
from jobs.store.database import Database
from jobs.store.records import Analysis, RunContents, RunRow, SeriesRow
from jobs.tables import Job, Measurement

CHANGED = func.coalesce(Job.finished_at, Job.started_at, Job.created_at)


class RunStore:
    """What the jobs and the measurements of one run of one owner say together."""

    def __init__(self, database: Database, *, owner: str) -> None:
        self.database, self.owner = database, owner

    def list(self, *, query: str | None, after: tuple[datetime, str] | None, limit: int) -> list[RunRow]:
        """Last changed first; `query` is a part of the name, `after` the (updated_at, run) of the last one seen."""
        updated_at = func.max(CHANGED)
        names = select(Job.run).where(Job.owner == self.owner, Job.run.is_not(None)).group_by(Job.run)
        names = names.order_by(updated_at.desc(), Job.run.desc()).limit(limit)
        if query:
            names = names.where(Job.run.icontains(query, autoescape=True))
        if after is not None:
            moment, run = after
            names = names.having(or_(updated_at < moment, and_(updated_at == moment, Job.run < run)))
        with self.database.read() as session:
            found = [str(run) for run in session.scalars(names)]
        counted = self._count(found)
        return [counted[run] for run in found if run in counted]  # one may have been deleted in between

    def get(self, run: str) -> RunRow:
        """One of them; `NotFound` if no job carries this name."""
        counted = self._count([run])
        if run not in counted:
            raise run_not_found(run)
        return counted[run]

    def _count(self, runs: Sequence[str]) -> dict[str, RunRow]:
        by_status = (
            select(Job.run, Job.status, func.count(), func.min(Job.created_at), func.max(CHANGED))
            .where(Job.owner == self.owner, Job.run.in_(runs))
            .group_by(Job.run, Job.status)
        )
        steps = (
            select(Job.run, func.count(Job.step.distinct()), func.min(Job.step), func.max(Job.step))
            .where(Job.owner == self.owner, Job.run.in_(runs))
            .group_by(Job.run)
        )
        with self.database.read() as session:
            of_runs = defaultdict(list)
            for row in session.execute(by_status):
                of_runs[str(row[0])].append(row)
            steps_of = {row[0]: row[1:] for row in session.execute(steps)}
        return {run: _row(run, rows, steps_of.get(run, (0, None, None))) for run, rows in of_runs.items()}

    def analyses(self, run: str) -> Sequence[Analysis]:
        """All jobs of a run by step, those without one last, the newest of a step first; `NotFound` without any."""
        query = (
            select(Job.id, Job.kind, Job.step, Job.status, Job.created_at, Job.finished_at)
            .where(Job.owner == self.owner, Job.run == run)
            .order_by(Job.step.is_(None), Job.step, Job.created_at.desc(), Job.id.desc())
        )
        with self.database.read() as session:
            found = [Analysis(*row) for row in session.execute(query)]
        if not found:
            raise run_not_found(run)
        return found

    def contents(self, run: str) -> RunContents:
        """The layers and metrics of all reports of a run, found by leaping through the index from each to the next."""
        with self.database.read() as session:
            found = session.execute(_layers_of_metrics(self.owner, run)).all()
        index_of: dict[str, int] = {}
        for _, layer, index in found:
            index_of[layer] = max(index, index_of.get(layer, 0))
        return RunContents(
            layers=sorted(index_of, key=lambda layer: (index_of[layer], layer)),
            metrics=list(dict.fromkeys(metric for metric, *_ in found)),
        )

    def measurements(
        self, run: str, job_ids: Sequence[str], *, metrics: Sequence[str], layers: Sequence[str]
    ) -> Sequence[SeriesRow]:
        """What these jobs of the run measured, in no order: of these metrics in these layers."""
        m = Measurement
        query = select(m.step, m.layer, m.layer_index, m.metric, m.value, m.job_id).where(
            m.owner == self.owner, m.job_id.in_(job_ids), m.layer.in_(layers), m.metric.in_(metrics)
        )
        with self.database.read() as session:
            return [SeriesRow(run, *row) for row in session.execute(query)]

    def valued_metrics(self, job_ids: Iterable[str]) -> set[str]:
        """The metrics that have a value in one of these jobs."""
        m = Measurement
        query = select(m.metric).where(m.owner == self.owner, m.job_id.in_(job_ids), m.value.is_not(None))
        with self.database.read() as session:
            return set(session.scalars(query.distinct()))


def _row(run: str, by_status: Sequence[Any], steps: Sequence[Any]) -> RunRow:
    counts: Mapping[str, int] = {status: number for _, status, number, *_ in by_status}
    num_steps, first_step, last_step = steps
    return RunRow(
        run=run,
        num_jobs=sum(counts.values()),
        num_steps=num_steps,
        first_step=first_step,
        last_step=last_step,
        created_at=min(created for *_, created, _ in by_status),
        updated_at=max(changed for *_, changed in by_status),
        jobs=counts,
    )


def _layers_of_metrics(owner: str, run: str) -> Select[Any]:
    """Rows (metric, layer, index): of each pair that the run has, one."""
    m = Measurement

    def least(column: Any, *where: ColumnElement[bool]) -> ScalarSelect[Any]:
        return select(func.min(column)).where(m.owner == owner, m.run == run, *where).scalar_subquery()

    metrics = select(least(m.metric).label("metric")).cte("metrics", recursive=True)
    next_metric = least(m.metric, m.metric > metrics.c.metric)
    metrics = metrics.union_all(select(next_metric).where(metrics.c.metric.is_not(None)))

    layer = least(m.layer, m.metric == metrics.c.metric).label("layer")
    pairs = select(metrics.c.metric, layer).where(metrics.c.metric.is_not(None)).cte("pairs", recursive=True)
    next_layer = least(m.layer, m.metric == pairs.c.metric, m.layer > pairs.c.layer)
    pairs = pairs.union_all(select(pairs.c.metric, next_layer).where(pairs.c.layer.is_not(None)))

    index = (
        select(m.layer_index)
        .where(m.owner == owner, m.run == run, m.metric == pairs.c.metric, m.layer == pairs.c.layer)
        .order_by(m.step.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(pairs.c.metric, pairs.c.layer, index).where(pairs.c.layer.is_not(None)).order_by(pairs.c.metric)


def run_not_found(run: str) -> NotFound:
    """The same words wherever a run is looked for."""
    return NotFound(
        "run_not_found",
        f"There is no run {run[:64]!r}: a run is the jobs that were submitted with its name. GET /v1/runs lists them.",
    )
