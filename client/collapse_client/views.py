"""The service's answers, as they come: plain dicts. Times are RFC 3339 strings."""

from __future__ import annotations

from typing import Any, Optional, TypedDict

# Optional, because pydantic and `get_type_hints` evaluate these, and Python 3.9 has no `X | None`.


class FieldError(TypedDict):
    """One thing that is wrong with a request."""

    pointer: str
    detail: str


class JobError(TypedDict):
    """Why a job failed."""

    code: str
    detail: str


class Progress(TypedDict):
    """How far a job is; `fraction` from 0 to 1."""

    fraction: float
    phase: Optional[str]
    current: Optional[int]
    total: Optional[int]
    eta_seconds: Optional[float]


class ChildrenView(TypedDict):
    """How the children of a job stand."""

    total: int
    ended: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    link: str


class JobView(TypedDict, total=False):
    """A job as it stands; `report` is there when it was waited for in `analyse`, `children` where it has any."""

    id: str
    kind: str
    status: str
    progress: Progress
    created_at: str
    started_at: Optional[str]
    finished_at: Optional[str]
    attempts: int
    run: Optional[str]
    step: Optional[int]
    tags: list[str]
    parameters: dict[str, Any]
    error: Optional[JobError]
    parent: Optional[str]
    children: ChildrenView
    links: dict[str, str]
    report: Optional[dict[str, Any]]


class ArtifactView(TypedDict):
    """A file beside a report."""

    name: str
    size_bytes: int
    sha256: str
    media_type: str
    link: str


class PlotView(TypedDict):
    """A figure of a report, and where it can be had."""

    name: str
    title: str
    svg: str
    png: str
    vega_lite: str


class LayerView(TypedDict):
    """One layer of a feature set."""

    name: str
    dim: int
    dtype: str
    weights_shape: Optional[list[int]]
    ood_samples: int
    second_moments: Optional[str]


class FeaturesView(TypedDict):
    """A feature set."""

    id: str
    status: str
    sha256: Optional[str]
    size_bytes: int
    num_samples: int
    num_classes: int
    class_counts: dict[str, int]
    layers: list[LayerView]
    created_at: str
    expires_at: str


class RunView(TypedDict):
    """A run: the analyses of one training; `jobs` are their numbers by status."""

    run: str
    num_jobs: int
    num_steps: int
    first_step: Optional[int]
    last_step: Optional[int]
    created_at: str
    updated_at: str
    jobs: dict[str, int]
    links: dict[str, str]


class RunStepView(TypedDict):
    """A step, and the analysis that counts; `replaced` had succeeded before, `others` have not, or not yet."""

    step: Optional[int]
    job_id: str
    kind: str
    status: str
    created_at: str
    finished_at: Optional[str]
    replaced: list[str]
    others: list[str]


class RunDetailView(RunView):
    """A run with its steps, and what its reports have."""

    steps: list[RunStepView]
    layers: list[str]
    metrics: list[str]


class SeriesRow(TypedDict):
    """One number of a series; `value` is None where the metric is undefined, and the report says why."""

    run: str
    step: Optional[int]
    layer: str
    layer_index: int
    metric: str
    value: Optional[float]
    job_id: str
