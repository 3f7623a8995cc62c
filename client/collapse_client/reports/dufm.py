"""What the kinds of the deep unconstrained features model put into a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from collapse_client.reports.view import View

if TYPE_CHECKING:
    import pandas

Values = List[Optional[float]]
"""One value for each recorded step; null from where all runs have diverged."""


class SrgReference(View):
    """The best solution of the strongly-regular-graph family."""

    loss: float
    vertices: int
    subset_size: Optional[int]
    subset_sizes: List[int]
    width: int


class FamilyReference(View):
    """The best solution of another family."""

    family: str
    loss: float
    rank: int
    width: int


class References(View):
    """Losses to compare with; `reasons` says why one is null."""

    effective_decay: float
    zero: Optional[float]
    dnc: Optional[float]
    srg: Optional[SrgReference]
    families: List[FamilyReference]
    best_known: Optional[float]
    lower_bound: Optional[float]
    reasons: Dict[str, str]


class TrainingRun(View):
    """One seed."""

    seed: int
    loss: Optional[float]
    fit: Optional[float]
    regularization: Optional[float]
    ranks: Dict[str, Optional[int]]
    structure: Optional[str]
    stop_reason: str
    steps: int
    gradient_norm: Optional[float]


class Band(View):
    """Over the runs, at each recorded step."""

    mean: Values
    std: Values


class LossBand(Band):
    """With the extremes."""

    min: Values
    max: Values


class SpectrumBand(View):
    """Singular values of the class means, largest first, at each recorded step: (steps, values)."""

    mean: List[Values]
    std: List[Values]


class Trajectory(View):
    """What training was like, over the runs."""

    step: List[int]
    loss: LossBand
    fit: LossBand
    regularization: LossBand
    metrics: Dict[str, Dict[str, Band]]
    singular_value_steps: List[int]
    singular_values: Dict[str, SpectrumBand]

    def to_pandas(self) -> pandas.DataFrame:
        """One row per step, metric and layer (none for loss, fit, regularization): mean, std, min, max over the runs.

        Raises MissingLibrary without pandas.
        """
        from collapse_client.reports.frames import trajectory_frame

        return trajectory_frame(self)


class Training(View):
    """The result of training."""

    runs: List[TrainingRun]
    best_run: Optional[int]
    trajectory: Trajectory
    references: References
    advice: List[str]


class Stationarity(View):
    """Whether a solution can be improved by a small move."""

    gradient_norm: float
    kinks: int
    descent: float
    stationary: bool


class Optimum(View):
    """The best solution that was found."""

    loss: float
    fit: float
    regularization: float
    source: str
    start: str
    structure: str
    ranks: Dict[str, int]
    references: References
    gap: float
    restarts: int
    reached_by: Optional[float]
    stationarity: Stationarity
    improves_best_known: bool
    hops: int
    stopped_by: str


class _OfGrid(View):
    """What belongs to a point of a grid. Its field `values` is an attribute under another name: a dict has that one."""

    @property
    def parameters(self) -> Dict[str, Any]:
        """Parameter → value: the field `values`."""
        return dict(self["values"])


class SweepCell(_OfGrid):
    """One point of the grid, all its repeats."""

    jobs: List[str]
    succeeded: int
    failed: int
    cancelled: int
    diverged: int
    losses: List[float]
    loss: Optional[float]
    loss_over_dnc: Optional[float]
    rank_mean: Optional[float]
    dnc_share: Optional[float]
    structures: Dict[str, int]
    reasons: Dict[str, str]


class FailedChild(_OfGrid):
    """A child that brought nothing, and why."""

    job_id: str
    status: str
    code: Optional[str]
    detail: Optional[str]


class Sweep(View):
    """A grid of trainings or searches."""

    kind: str
    grid: Dict[str, List[Any]]
    repeats: int
    cells: List[SweepCell]
    failures: List[FailedChild]

    def to_pandas(self) -> pandas.DataFrame:
        """One row per cell: the parameters of the grid, then what was found. Raises MissingLibrary without pandas."""
        from collapse_client.reports.frames import sweep_frame

        return sweep_frame(self)


class Statement(View):
    """What the paper says, and whether this reproduction agrees."""

    statement: str
    source: str
    agrees: Optional[bool]
    measured: Dict[str, Any]


class Panel(View):
    """One panel of a figure: what its plot is drawn from."""

    name: str
    title: str
    rows: List[Dict[str, Any]]
    encoding: Dict[str, str]
    reference_lines: Dict[str, float]


class Reproduction(View):
    """One figure of the paper, done again."""

    figure: str
    scale: float
    settings: Dict[str, Any]
    panels: List[Panel]
    statements: List[Statement]
