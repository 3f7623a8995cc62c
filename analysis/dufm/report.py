"""What the DUFM kinds put into a report. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
SolutionStructure = Literal["zero", "dnc", "srg", "low_rank", "other"]
StopReason = Literal["converged", "step_limit", "diverged"]


class Model(BaseModel):
    """Built once, never changed, nothing that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SrgReference(Model):
    """The best solution of the strongly-regular-graph family."""

    loss: FiniteFloat
    vertices: int = Field(description="r, with K = r(r−1)/2")
    subset_size: int | None = Field(description="s, the vertices of a neuron of the last hidden layer; null: a mixture")
    subset_sizes: tuple[int, ...] = Field(description="all sizes that occur in the last hidden layer")
    width: int = Field(description="neurons that the widest hidden layer needs")


class FamilyReference(Model):
    """The best solution of another family."""

    family: str
    loss: FiniteFloat
    rank: int = Field(description="of M_L, before the ReLU")
    width: int = Field(description="neurons that the widest hidden layer needs")


class BestKnown(Model):
    """The best solution in the catalogue of optima for this K, L and λ̄."""

    loss: FiniteFloat
    rank: int = Field(description="of M_L, before the ReLU")
    structure: SolutionStructure
    width: int


class References(Model):
    """What there is to compare a solution with: losses as functions of K, L, λ̄ and the widths alone."""

    effective_decay: FiniteFloat = Field(description="λ̄ = (n λ_H1 Π λ_Wl)^(1/(L+1))")
    zero: FiniteFloat | None
    dnc: FiniteFloat | None
    srg: SrgReference | None
    families: tuple[FamilyReference, ...] = ()
    best_known: FiniteFloat | None = Field(
        description="the loss in the catalogue of optima; null where it has no entry"
    )
    lower_bound: FiniteFloat | None = Field(description="proved: no solution lies below")
    reasons: dict[str, str] = Field(default_factory=dict, description="why a reference is null")


class TrainingRun(Model):
    """One seed."""

    seed: int
    loss: FiniteFloat | None = Field(description="at the end; of a diverged run, the last finite one")
    fit: FiniteFloat | None
    regularization: FiniteFloat | None
    ranks: dict[str, int | None]
    structure: SolutionStructure | None = Field(description="null for a diverged run")
    stop_reason: StopReason
    steps: int = Field(description="taken by this run")
    gradient_norm: FiniteFloat | None = Field(description="‖∇Loss‖ over the norm of all variables, at the end")


class Band(Model):
    """Over the runs, at each recorded step; runs that have diverged are left out from there on."""

    mean: tuple[FiniteFloat | None, ...]
    std: tuple[FiniteFloat | None, ...]


class LossBand(Band):
    """With the extremes."""

    min: tuple[FiniteFloat | None, ...]
    max: tuple[FiniteFloat | None, ...]


class SpectrumBand(Model):
    """Singular values of the class means, largest first, at each recorded step: (steps, values)."""

    mean: tuple[tuple[FiniteFloat | None, ...], ...]
    std: tuple[tuple[FiniteFloat | None, ...], ...]


class Trajectory(Model):
    """What training was like; `trajectory.parquet` has the same for each run alone."""

    step: tuple[int, ...]
    loss: LossBand
    fit: LossBand
    regularization: LossBand
    metrics: dict[str, dict[str, Band]] = Field(description="metric → layer → band")
    singular_value_steps: tuple[int, ...] = Field(description="the steps of singular_values: at most 200 of `step`")
    singular_values: dict[str, SpectrumBand] = Field(description="layer → band, at singular_value_steps")


class Training(Model):
    """The result of training."""

    runs: tuple[TrainingRun, ...]
    best_run: int | None = Field(description="index of the run of the least loss; null if all diverged")
    trajectory: Trajectory
    references: References
    advice: tuple[str, ...] = Field(default=(), description="what to change, where runs diverged or did not converge")


class Stationarity(Model):
    """Whether a solution can be improved by a small move, with the ReLU's kinks taken for what they are."""

    gradient_norm: FiniteFloat = Field(
        description="least norm of an element of the generalised gradient (σ' of a pre-activation that is 0 may be "
        "anything in [0, 1]), over λ̄ times the norm of all variables"
    )
    kinks: int = Field(description="pre-activations that are 0")
    descent: FiniteFloat = Field(
        description="the least one-sided directional derivative found, over unit directions and λ̄ times the norm of "
        "all variables; below −1e-4 the solution is no local minimum"
    )
    stationary: bool


class Optimum(Model):
    """The best solution that was found."""

    loss: FiniteFloat
    fit: FiniteFloat
    regularization: FiniteFloat
    source: Literal["zero", "dnc", "srg", "search"]
    start: str = Field(description="what the solution was descended from: a family, a catalogue cell, random")
    structure: SolutionStructure
    ranks: dict[str, int]
    references: References
    gap: FiniteFloat = Field(description="loss − lower_bound: what is still open")
    restarts: int
    reached_by: FiniteFloat | None = Field(description="share of the random restarts that end within 1e-4, relative")
    stationarity: Stationarity
    improves_best_known: bool = Field(description="better than the catalogue's entry by more than 1e-6, relative")
    hops: int = Field(description="rounds of descents from disturbed solutions")
    stopped_by: Literal["patience", "budget"] = Field(
        description="patience: nothing better came any more, and the same command gives the same result; budget: time "
        "ran out first, and what was found depends on the machine"
    )


class SweepCell(Model):
    """One point of the grid, all its repeats."""

    values: dict[str, Any] = Field(description="parameter → value")
    jobs: tuple[str, ...]
    succeeded: int
    failed: int
    cancelled: int
    diverged: int = Field(description="runs, of jobs that succeeded; what follows is of the others")
    losses: tuple[FiniteFloat, ...] = Field(description="of all runs of all repeats that ended")
    loss: FiniteFloat | None = Field(description="the least")
    loss_over_dnc: FiniteFloat | None
    rank_mean: FiniteFloat | None = Field(description="of M_L before the ReLU, over the runs")
    dnc_share: FiniteFloat | None = Field(description="share of the runs that end in a DNC solution")
    structures: dict[str, int]
    reasons: dict[str, str] = Field(default_factory=dict, description="why a value is null")


class FailedChild(Model):
    """A child that brought nothing, and why."""

    job_id: str
    status: str
    values: dict[str, Any]
    code: str | None
    detail: str | None


class Sweep(Model):
    """A grid of trainings or searches."""

    kind: str
    grid: dict[str, tuple[Any, ...]]
    repeats: int
    cells: tuple[SweepCell, ...]
    failures: tuple[FailedChild, ...]


class Statement(Model):
    """What the paper says, and whether this reproduction agrees."""

    statement: str
    source: str = Field(description="where the paper says so")
    agrees: bool | None = Field(description="null: cannot be told at this scale")
    measured: dict[str, FiniteFloat | int | str | None]


class Panel(Model):
    """One panel of a figure: what its plot is drawn from."""

    name: str
    title: str
    rows: tuple[dict[str, FiniteFloat | int | str | None], ...]
    encoding: dict[str, str] = Field(description="what is drawn how: mark, x, y, color, scale")
    reference_lines: dict[str, FiniteFloat] = Field(default_factory=dict)


class Reproduction(Model):
    """One figure of the paper, done again."""

    figure: str
    scale: FiniteFloat
    settings: dict[str, Any]
    panels: tuple[Panel, ...]
    statements: tuple[Statement, ...]
