"""What leaves the API: the shapes of the contract, apart from the tables that they are made from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, Field

from analysis.dufm.catalogue import CatalogueEntry
from analysis.report import Report
from jobs import tables
from jobs.series import Step, steps
from jobs.store import Analysis, RunContents, RunRow

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class LayerView(BaseModel):
    """One layer of a feature set."""

    name: str
    dim: int
    dtype: str
    weights_shape: tuple[int, int] | None
    ood_samples: int = Field(default=0, description="samples of no class, which came as `ood.<layer>`")
    second_moments: str | None = Field(
        default=None,
        description="null where there are samples; of moments, what they tell of the scatter within the classes: "
        "`matrix` (all), `projection` (along the class means), `trace` (how much, class by class)",
    )


class FeaturesView(BaseModel):
    """A feature set."""

    id: str
    status: Literal["open", "ready"]
    sha256: str | None
    size_bytes: int
    num_samples: int
    num_classes: int
    class_counts: dict[str, int]
    layers: list[LayerView]
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, row: tables.Features) -> Self:
        """The view of a row; of an open set, what is known so far."""
        counts = row.class_counts or {}
        return cls(
            id=row.id,
            status=row.status,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            num_samples=row.num_samples,
            num_classes=len(counts),
            class_counts=counts,
            layers=row.layers or [],
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class Progress(BaseModel):
    """How far a job is."""

    fraction: float = Field(ge=0, le=1)
    phase: str | None
    current: int | None
    total: int | None
    eta_seconds: float | None


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    detail: str


class JobLinks(BaseModel):
    """Where the rest of a job is."""

    self: str
    events: str
    report: str
    plots: str
    artifacts: str
    cancel: str


class ChildrenView(BaseModel):
    """How the children of a job stand."""

    total: int
    ended: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    link: str = Field(description="the list of them")

    @classmethod
    def of(cls, parent: tables.Job, counts: Mapping[str, int]) -> Self:
        """The view of their numbers by status; those that are zero may be missing."""
        by_status = {status: counts.get(status, 0) for status in tables.STATUSES}
        ended = sum(by_status[status] for status in tables.ENDED)
        return cls(total=sum(by_status.values()), ended=ended, link=f"/v1/jobs?parent={parent.id}", **by_status)


class JobView(BaseModel):
    """A job as it stands."""

    id: str
    kind: str
    status: JobStatus
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        default=None, description="when it is deleted, once it has ended; null: when somebody deletes it"
    )
    attempts: int
    run: str | None
    step: int | None
    tags: list[str]
    parameters: dict[str, Any]
    error: JobError | None
    parent: str | None = Field(default=None, description="the job that this one is a child of")
    children: ChildrenView | None = Field(
        default=None,
        description="of a job that waits for others; else left out",
        exclude_if=lambda value: value is None,
    )
    links: JobLinks

    @classmethod
    def of(cls, job: tables.Job, children: Mapping[str, int] | None = None) -> Self:
        """The view of a row; of a parent, with the number of its children by status."""
        return cls(
            id=job.id,
            kind=job.kind,
            status=job.status,
            progress=_progress(job),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
            attempts=job.attempts,
            run=job.run,
            step=job.step,
            tags=job.tags,
            parameters={name: value for name, value in job.parameters.items() if name != "kind"},
            error=JobError(code=job.error_code, detail=job.error_detail or "") if job.error_code else None,
            parent=job.parent_id,
            children=None if children is None else ChildrenView.of(job, children),
            links=_links(job.id),
        )


class FinishedJobView(JobView):
    """A job that was waited for, with its report where it has one."""

    report: Report | None = None


class VerdictView(BaseModel):
    """What a report says, in words."""

    job_id: str
    sentences: list[str] = Field(description="the most important first; each follows from numbers of the report")


class OptimumView(CatalogueEntry):
    """The best known solution of one cell, also in words."""

    sentences: list[str] = Field(description="the most important first; each follows from the numbers beside it")


class JobPage(BaseModel):
    """One page of jobs, newest first."""

    items: list[JobView]
    next_cursor: str | None


def _progress(job: tables.Job) -> Progress:
    fraction = job.current / job.total if job.current is not None and job.total else 0.0
    if job.status == tables.SUCCEEDED:
        fraction = 1.0
    eta_seconds = None
    if job.status == tables.RUNNING and job.started_at and job.progress_at and fraction > 0:
        elapsed = (job.progress_at - job.started_at).total_seconds()
        eta_seconds = round(elapsed / fraction * (1 - fraction), 1)
    return Progress(
        fraction=min(1.0, fraction), phase=job.phase, current=job.current, total=job.total, eta_seconds=eta_seconds
    )


def _links(job_id: str) -> JobLinks:
    base = f"/v1/jobs/{job_id}"
    rest = {name: f"{base}/{name}" for name in ("events", "report", "plots", "artifacts", "cancel")}
    return JobLinks(self=base, **rest)


class ArtifactView(BaseModel):
    """A file beside a report."""

    name: str
    size_bytes: int
    sha256: str
    media_type: str
    link: str

    @classmethod
    def of(cls, artifact: tables.Artifact) -> Self:
        """The view of a row."""
        return cls(
            name=artifact.name,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            media_type=artifact.media_type,
            link=f"/v1/jobs/{artifact.job_id}/artifacts/{artifact.name}",
        )


class PlotView(BaseModel):
    """A figure of a report, and where it can be had."""

    name: str
    title: str
    svg: str
    png: str
    vega_lite: str


def run_address(run: str) -> str:
    """Where a run is, whatever its name.

    >>> run_address("50 % / α")
    '/v1/runs/50%20%25%20%2F%20%CE%B1'
    """
    return f"/v1/runs/{quote(run, safe='')}"


class RunLinks(BaseModel):
    """Where the rest of a run is."""

    self: str
    series: str
    plots: str
    jobs: str


class RunView(BaseModel):
    """A run: the analyses of one training."""

    run: str
    num_jobs: int
    num_steps: int = Field(description="different steps; jobs without one do not count")
    first_step: int | None
    last_step: int | None
    created_at: datetime
    updated_at: datetime = Field(description="when a job of it was last made, started or ended")
    jobs: dict[JobStatus, int] = Field(description="number of jobs by status")
    links: RunLinks

    @classmethod
    def of(cls, row: RunRow) -> Self:
        """The view of what the jobs of a run say together."""
        address = run_address(row.run)
        links = RunLinks(
            self=address,
            series=f"{address}/series",
            plots=f"{address}/plots",
            jobs=f"/v1/jobs?run={quote(row.run, safe='')}",
        )
        by_status = {status: row.jobs.get(status, 0) for status in tables.STATUSES}
        return cls(**{**vars(row), "jobs": by_status}, links=links)


class RunPage(BaseModel):
    """One page of runs, last changed first."""

    items: list[RunView]
    next_cursor: str | None


class RunStepView(BaseModel):
    """A step of a run, and the analysis that counts: of one kind, the newest that has succeeded, or the newest."""

    step: int | None = Field(description="null for an analysis without one")
    job_id: str
    kind: str
    status: JobStatus
    created_at: datetime
    finished_at: datetime | None
    replaced: list[str] = Field(description="analyses of this step that had succeeded before, the newest first")
    others: list[str] = Field(description="those that have not succeeded, or not yet, the newest first")

    @classmethod
    def of(cls, step: Step) -> Self:
        """The view of a step."""
        return cls(**step.current._asdict(), replaced=step.replaced, others=step.others)


class RunDetailView(RunView):
    """A run with its steps, and what its reports have."""

    steps: list[RunStepView] = Field(description="by step; without one last")
    layers: list[str] = Field(description="by index")
    metrics: list[str]

    @classmethod
    def of_run(cls, row: RunRow, analyses: Sequence[Analysis], contents: RunContents) -> Self:
        """The view of all that is known of a run."""
        return cls(
            **dict(RunView.of(row)),
            steps=[RunStepView.of(step) for step in steps(analyses)],
            layers=contents.layers,
            metrics=contents.metrics,
        )


class SeriesRowView(BaseModel):
    """One number of a series."""

    run: str
    step: int | None
    layer: str
    layer_index: int
    metric: str
    value: float | None = Field(description="null where the metric is undefined; the report says why")
    job_id: str
