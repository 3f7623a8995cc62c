"""What training was like: recorded for each run, as a table, and as mean and spread over the runs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.class_means import EPSILON
from analysis.dufm.model import Variables, class_means, layer_matrices, losses
from analysis.dufm.problem import Problem
from analysis.dufm.report import Band, LossBand, SpectrumBand, Trajectory
from analysis.dufm.structure import are_zero, count_ranks

VARIABILITY: Final = "variability_trace_ratio"
RANK: Final = "class_mean_rank"
METRICS: Final = (VARIABILITY, RANK)
"""Of each layer, as the catalogue defines them."""
MOST_NUMBERS: Final = 4_000_000
"""Recorded in a training: 32 MB."""
MOST_REPORTED_SPECTRA: Final = 200
"""Steps of which the report shows singular values."""
MOST_REPORTED_NUMBERS: Final = 400_000
"""Singular values in the report; fewer steps are shown where there are more of them."""

Table = Float64[np.ndarray, "runs columns"]


class Column(NamedTuple):
    """What one number of a record is; layer None: of the whole model."""

    layer: str | None
    metric: str


class Recording:
    """The records of a training.

    interval: steps between two records, as asked for; more where that would be more than MOST_NUMBERS.
    """

    def __init__(self, problem: Problem, *, seeds: Sequence[int], steps: int, interval: int) -> None:
        self.problem = problem
        self.columns = tuple(_columns(problem))
        affordable = max(1, MOST_NUMBERS // (len(seeds) * len(self.columns)) - 1)
        self.interval = max(interval, -(-steps // affordable))
        self._seeds = tuple(seeds)
        self._steps: list[int] = []
        self._tables: list[Table] = []
        self._recorded: list[np.ndarray] = []
        self._ends: dict[int, int] = {}

    def record(
        self, step: int, runs: Sequence[int], variables: Variables, hear: Callable[[], None] = lambda: None
    ) -> None:
        """Keep what there is to tell of these runs, a batch in this order; `hear` is called between layers."""
        numbers = torch.cat(list(self._measure(variables, hear)), dim=1)
        table = np.full((len(self._seeds), len(self.columns)), np.nan)
        table[list(runs)] = numbers.cpu().numpy()
        recorded = np.zeros(len(self._seeds), dtype=bool)
        recorded[list(runs)] = True
        self._steps.append(step)
        self._tables.append(table)
        self._recorded.append(recorded)

    def leave_out(self, step: int, run: int) -> None:
        """From this step on the run has no numbers: it has diverged."""
        self._ends[run] = step

    def losses_of(self, run: int) -> dict[int, float]:
        """Step → loss of one run, where it was recorded."""
        return {
            step: float(table[run, 0])
            for step, table, recorded in zip(self._steps, self._tables, self._recorded, strict=True)
            if recorded[run]
        }

    def _measure(self, variables: Variables, hear: Callable[[], None]) -> Iterator[Float64[Tensor, "runs columns"]]:
        found = losses(self.problem, variables)
        yield torch.stack([found.loss, found.fit, found.regularization], dim=1).double()
        zero = are_zero(self.problem, found)
        for matrix in layer_matrices(self.problem, variables).values():
            hear()
            means = class_means(self.problem, matrix)
            singular_values = _singular_values(means)
            yield _variability(self.problem, matrix, means)[:, None]
            yield count_ranks(singular_values).double().masked_fill(zero, 0)[:, None]
            yield singular_values

    # -- as mean and spread over the runs --------------------------------------------------------------------------

    def trajectory(self) -> Trajectory:
        """Over the runs: those that have ended keep their last values, those that have diverged are left out."""
        steps, means, deviations, least, most = self._bands()
        of_column = {column: index for index, column in enumerate(self.columns)}

        def band(layer: str | None, metric: str) -> dict[str, Any]:
            index = of_column[Column(layer, metric)]
            return {"mean": _tuple(means[:, index]), "std": _tuple(deviations[:, index])}

        def loss_band(metric: str) -> LossBand:
            index = of_column[Column(None, metric)]
            return LossBand(**band(None, metric), min=_tuple(least[:, index]), max=_tuple(most[:, index]))

        shown = self._shown(len(steps))
        return Trajectory(
            step=tuple(steps),
            loss=loss_band("loss"),
            fit=loss_band("fit"),
            regularization=loss_band("regularization"),
            metrics={
                metric: {layer: Band(**band(layer, metric)) for layer in self.problem.layers} for metric in METRICS
            },
            singular_value_steps=tuple(steps[index] for index in shown),
            singular_values={
                layer: SpectrumBand(
                    mean=tuple(_tuple(row) for row in means[np.ix_(shown, columns)]),
                    std=tuple(_tuple(row) for row in deviations[np.ix_(shown, columns)]),
                )
                for layer, columns in self._spectrum_columns().items()
            },
        )

    def _bands(self) -> tuple[list[int], Table, Table, Table, Table]:
        """The recorded steps that all runs share, and mean, standard deviation, minimum and maximum at each."""
        current = np.full((len(self._seeds), len(self.columns)), np.nan)
        steps: list[int] = []
        rows: list[tuple[np.ndarray, ...]] = []
        for step, table, recorded in zip(self._steps, self._tables, self._recorded, strict=True):
            current[recorded] = table[recorded]
            current[[run for run, end in self._ends.items() if end <= step]] = np.nan
            if step % self.interval == 0 or step == self._steps[-1]:
                steps.append(step)
                rows.append(_over_runs(current))
        if not rows:  # every run was over before it began
            empty = np.empty((0, len(self.columns)))
            return [], empty, empty, empty, empty
        means, deviations, least, most = np.reshape(rows, (len(steps), 4, len(self.columns))).transpose(1, 0, 2)
        return steps, means, deviations, least, most

    def _spectrum_columns(self) -> dict[str, list[int]]:
        return {
            layer: [
                index
                for index, column in enumerate(self.columns)
                if column.layer == layer and column.metric not in METRICS
            ]
            for layer in self.problem.layers
        }

    def _shown(self, count: int) -> list[int]:
        """Which of so many recorded steps the report shows the singular values of: evenly, first and last included."""
        width = 2 * sum(map(len, self._spectrum_columns().values()))
        most = max(2, min(MOST_REPORTED_SPECTRA, MOST_REPORTED_NUMBERS // width))
        return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most)).round()})

    # -- as a table ------------------------------------------------------------------------------------------------

    def parquet(self) -> bytes:
        """Every number of every run, one a row: run, seed, step, layer (null: the model), metric, value (or null)."""
        rows = [np.flatnonzero(recorded) for recorded in self._recorded]
        width = len(self.columns)
        runs = np.repeat(np.concatenate([np.empty(0, int), *rows]), width)
        steps = np.repeat(np.asarray(self._steps, int), [len(row) * width for row in rows])
        values = np.concatenate([[], *(table[row].ravel() for table, row in zip(self._tables, rows, strict=True))])
        times = len(runs) // width
        table = pa.table(
            {
                "run": pa.array(runs, pa.int32()),
                "seed": pa.array(np.asarray(self._seeds, dtype=np.uint64)[runs], pa.uint64()),
                "step": pa.array(steps, pa.int64()),
                "layer": _repeated([column.layer for column in self.columns], times),
                "metric": _repeated([column.metric for column in self.columns], times),
                "value": pa.array(values, pa.float64(), from_pandas=True),
            }
        )
        file = io.BytesIO()
        pq.write_table(table, file, compression="zstd")
        return file.getvalue()


def _columns(problem: Problem) -> Iterator[Column]:
    for metric in ("loss", "fit", "regularization"):
        yield Column(None, metric)
    dims = (problem.widths[0], *(width for width in problem.widths[1:] for _ in range(2)), problem.num_classes)
    for layer, dim in zip(problem.layers, dims, strict=True):
        for metric in METRICS:
            yield Column(layer, metric)
        for index in range(1, min(dim, problem.num_classes) + 1):
            yield Column(layer, f"singular_value_{index}")


def _singular_values(means: Float64[Tensor, "runs d K"]) -> Float64[Tensor, "runs values"]:
    """Largest first; NaN of what is not finite, such as the hidden layer of a run that is about to diverge."""
    there = means.isfinite().all(dim=2).all(dim=1)
    values: Tensor = torch.linalg.svdvals(torch.where(there[:, None, None], means, 0.0))
    return values.masked_fill(~there[:, None], torch.nan)


def _variability(
    problem: Problem, matrix: Float64[Tensor, "runs d N"], means: Float64[Tensor, "runs d K"]
) -> Float64[Tensor, " runs"]:
    """The trace of Σ_W over that of Σ_B; NaN where class means coincide, and of single samples."""
    centered = means - means.mean(dim=2, keepdim=True)
    between = centered.square().sum(dim=(1, 2)) / problem.num_classes
    resolution = 4 * EPSILON * means.norm(dim=1).amax(dim=1)
    undefined = between.sqrt() <= resolution
    if problem.samples_per_class == 1:
        undefined = torch.ones_like(undefined)
    within = matrix - means.repeat_interleave(problem.samples_per_class, dim=2)
    ratio = within.square().sum(dim=(1, 2)) / problem.num_samples / between
    return ratio.masked_fill(undefined, torch.nan)


def _over_runs(values: Table) -> tuple[np.ndarray, ...]:
    """Mean, standard deviation (by the number of runs), minimum and maximum of each column, without NaN; or NaN."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    none = count == 0
    count = np.where(none, 1, count)
    mean = np.where(there, values, 0).sum(axis=0) / count
    deviation = np.sqrt(np.where(there, (values - mean) ** 2, 0).sum(axis=0) / count)
    least, most = np.where(there, values, np.inf).min(axis=0), np.where(there, values, -np.inf).max(axis=0)
    return tuple(np.where(none, np.nan, result) for result in (mean, deviation, least, most))


def _tuple(values: Float64[np.ndarray, " values"]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _repeated(names: Sequence[str | None], times: int) -> pa.DictionaryArray:
    """These names over and over; each is kept once."""
    known = list(dict.fromkeys(name for name in names if name is not None))
    codes = np.asarray([-1 if name is None else known.index(name) for name in names], dtype=np.int32)
    repeated = np.tile(codes, times)
    return pa.DictionaryArray.from_arrays(pa.array(repeated, mask=repeated < 0), pa.array(known))
