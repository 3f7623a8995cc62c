"""Put the jobs of a sweep together: a cell for each point of the grid, and a table with a row for each run."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

from analysis.dufm.report import FailedChild, Sweep, SweepCell
from analysis.report import Environment, Report, Warning

if TYPE_CHECKING:
    from analysis.commands import ChildJob, Surroundings, SweepDufm

TABLE = "sweep.csv"
"""Name of the table among the artifacts."""
SUCCEEDED, FAILED, CANCELLED, DIVERGED = "succeeded", "failed", "cancelled", "diverged"


@dataclass(frozen=True)
class Run:
    """One run of a training, or one search; the columns of the table after those of the grid."""

    seed: int
    loss: float | None
    fit: float | None
    regularization: float | None
    rank: int | None
    """of M_L before the ReLU"""
    structure: str | None
    stop_reason: str
    job_id: str


@dataclass(frozen=True)
class Outcome:
    """One child, as far as the sweep needs it: reports are large, and a sweep may have a thousand."""

    job_id: str
    status: str
    runs: tuple[Run, ...]
    dnc: float | None
    """the reference loss of its model"""
    no_dnc: str | None
    """why there is none"""
    failure: FailedChild | None


def collect(command: SweepDufm, surroundings: Surroundings) -> Report:
    """The report of a sweep whose children have ended; of those that brought nothing, `failures` tells why.

    Lets through what `surroundings.progress` raises.
    """
    started = time.perf_counter()
    cells, failures, rows = [], [], []
    for values, outcomes in _by_cell(command, surroundings):
        cells.append(_cell(values, outcomes))
        failures += [outcome.failure for outcome in outcomes if outcome.failure]
        rows += [(values, run) for outcome in outcomes for run in outcome.runs]
    surroundings.keep_artifact(TABLE, to_csv(tuple(command.grid), rows))
    base = command.base.model
    return Report(
        job_id=surroundings.job_id,
        kind=command.kind,
        run=surroundings.run,
        step=surroundings.step,
        created_at=datetime.now(UTC),
        environment=Environment(
            service_version=surroundings.service_version,
            torch_version=version("torch"),  # without importing it
            device=surroundings.device,
            dtype="float64",
            seed=command.base.seed,
        ),
        num_samples=base.num_samples,
        num_classes=base.num_classes,
        class_counts={str(label): base.samples_per_class for label in range(base.num_classes)},
        catalogue={},
        layers=(),
        sweep=Sweep(
            kind=command.base.kind,
            grid=command.grid,
            repeats=command.repeats,
            cells=tuple(cells),
            failures=tuple(failures),
        ),
        artifacts=(TABLE,),
        warnings=tuple(_warnings(cells, failures)),
        timings={"total_seconds": time.perf_counter() - started},
    )


def to_csv(parameters: Sequence[str], rows: Sequence[tuple[Mapping[str, Any], Run]]) -> bytes:
    """A line for each run: the parameters of its cell, then what came out; what is undefined is empty.

    A parameter that has the name of a result, such as `loss`, is called `parameter_loss`; lists are written as JSON.

    >>> run = Run(3, 0.5, 0.5, 0.0, 0, "zero", "converged", "job_a")
    >>> print(to_csv(["loss", "width"], [({"loss": "mse", "width": [4, 5]}, run)]).decode())
    parameter_loss,width,seed,loss,fit,regularization,rank,structure,stop_reason,job_id
    mse,"[4, 5]",3,0.5,0.5,0.0,0,zero,converged,job_a
    <BLANKLINE>
    """
    results = list(Run.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(f"parameter_{name}" if name in results else name for name in parameters), *results])
    for values, run in rows:
        writer.writerow([*(_plain(values[name]) for name in parameters), *(getattr(run, name) for name in results)])
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value)


def _by_cell(command: SweepDufm, surroundings: Surroundings) -> Iterator[tuple[dict[str, Any], tuple[Outcome, ...]]]:
    """The children stand cell by cell, the repeats of a cell side by side."""
    children = surroundings.children()
    for number, values in enumerate(command.cells()):
        layer = command.child(values, repeat=0).model.last_pre_activation
        outcomes = []
        for index in range(number * command.repeats, (number + 1) * command.repeats):
            surroundings.progress(phase="collecting", current=index, total=len(children))
            outcomes.append(_outcome(children[index], values, layer))
        yield values, tuple(outcomes)


def _outcome(child: ChildJob, values: dict[str, Any], layer: str) -> Outcome:
    if child.report is None:
        failure = FailedChild(
            job_id=child.job_id, status=child.status, values=values, code=child.error_code, detail=child.error_detail
        )
        return Outcome(child.job_id, child.status, runs=(), dnc=None, no_dnc=None, failure=failure)
    result = child.report["training"] or child.report["optimum"]
    references = result["references"]
    return Outcome(
        child.job_id,
        child.status,
        runs=tuple(_runs(child.job_id, child.report, layer)),
        dnc=references["dnc"],
        no_dnc=references["reasons"].get("dnc"),
        failure=None,
    )


def _runs(job_id: str, report: Mapping[str, Any], layer: str) -> Iterator[Run]:
    optimum = report["optimum"]
    found = (
        [{**optimum, "seed": report["environment"]["seed"], "stop_reason": optimum["stopped_by"]}]
        if optimum
        else report["training"]["runs"]
    )
    for run in found:
        yield Run(
            seed=run["seed"],
            loss=run["loss"],
            fit=run["fit"],
            regularization=run["regularization"],
            rank=run["ranks"][layer],
            structure=run["structure"],
            stop_reason=run["stop_reason"],
            job_id=job_id,
        )


def _cell(values: dict[str, Any], outcomes: Sequence[Outcome]) -> SweepCell:
    statuses = Counter(outcome.status for outcome in outcomes)
    runs = [run for outcome in outcomes for run in outcome.runs]
    ended = [run for run in runs if run.stop_reason != DIVERGED]
    losses = tuple(run.loss for run in ended if run.loss is not None)
    ranks = [run.rank for run in ended if run.rank is not None]
    dnc = next((outcome.dnc for outcome in outcomes if outcome.dnc is not None), None)
    structures = Counter(run.structure for run in ended if run.structure is not None)
    return SweepCell(
        values=values,
        jobs=tuple(outcome.job_id for outcome in outcomes),
        succeeded=statuses[SUCCEEDED],
        failed=statuses[FAILED],
        cancelled=statuses[CANCELLED],
        diverged=len(runs) - len(ended),
        losses=losses,
        loss=min(losses, default=None),
        loss_over_dnc=min(losses) / dnc if losses and dnc else None,
        rank_mean=fmean(ranks) if ranks else None,
        dnc_share=structures["dnc"] / structures.total() if structures else None,
        structures=dict(sorted(structures.items())),
        reasons=_reasons(outcomes, ended, dnc),
    )


def _reasons(outcomes: Sequence[Outcome], ended: Sequence[Run], dnc: float | None) -> dict[str, str]:
    if not ended:
        reason = "every run diverged" if any(outcome.runs for outcome in outcomes) else "no job succeeded: see failures"
        return dict.fromkeys(("loss", "loss_over_dnc", "rank_mean", "dnc_share"), reason)
    if dnc:
        return {}
    told = next((outcome.no_dnc for outcome in outcomes if outcome.no_dnc), "there is no DNC loss to compare with")
    return {"loss_over_dnc": told}


def _warnings(cells: Sequence[SweepCell], failures: Sequence[FailedChild]) -> Iterator[Warning]:
    if failures:
        told = f"{len(failures)} of {sum(len(cell.jobs) for cell in cells)} jobs failed or were cancelled: see failures"
        yield Warning(code="jobs_without_result", detail=told)
    empty = sum(not cell.losses for cell in cells)
    if empty:
        told = f"{empty} of {len(cells)} cells have no run that ended: see their reasons"
        yield Warning(code="cells_without_result", detail=told)
