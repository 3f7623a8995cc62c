"""A solution's layers, measured by the same metrics as those of a network, and the report around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from analysis.applied_weights import AppliedWeights
from analysis.commands.base import Command, Surroundings
from analysis.dufm.model import Variables, layer_matrices
from analysis.dufm.problem import Problem
from analysis.layer_report import report_layer
from analysis.metrics import REGISTRY
from analysis.report import Environment, LayerReport, Report, Warning
from analysis.second_moments import CHEAP_MULTIPLY_ADDS, choose_way
from analysis.statistics import LayerStatistics, Samples
from analysis.summary import summarize
from analysis.tiles import tile_rows
from collapse_client.format.moments import Moments

METRICS: Final = tuple(name for name in REGISTRY if name not in ("bias_collapse", "out_of_distribution_orthogonality"))
"""The model has no biases, and no samples of no class."""
SPECTRA: Final = ("class_means", "features", "weights")


def measure_solution(
    problem: Problem, variables: Variables, *, progress: Callable[..., None] | None = None
) -> tuple[LayerReport, ...]:
    """Every layer of `problem.layers` of one run, by every metric that a model without biases has.

    Columns become rows: samples, of class 0 … K−1. A layer that a matrix is applied to comes with it: W_1 with H_1, W_l
    with σ(H_l), and W_L is the classifier. What is undefined is null, with a warning, as in any report. progress: heard
    between layers, as `Surroundings.progress`.

    >>> problem = Problem(num_classes=2, widths=(2, 2), weight_decays=(0.1, 0.1), feature_decay=0.1)
    >>> eye = torch.eye(2)[None]
    >>> layers = measure_solution(problem, Variables(eye, (eye, eye)))
    >>> [(layer.name, layer.metrics["class_mean_rank"]) for layer in layers]
    [('H_1', 2.0), ('H_2', 2.0), ('relu(H_2)', 2.0), ('output', 2.0)]
    """
    one_run = variables.run(0)
    doubles = Variables(one_run.features.double(), tuple(weight.double() for weight in one_run.weights))
    reports = []
    for index, (name, matrix) in enumerate(layer_matrices(problem, doubles).items()):
        if progress:
            progress(phase="measuring", current=index, total=len(problem.layers))
        reports.append(_measure(problem, doubles, index, name, matrix[0].T.contiguous()))
    return tuple(reports)


def _measure(
    problem: Problem, variables: Variables, index: int, name: str, features: Float64[Tensor, "N d"]
) -> LayerReport:
    num_classes, dim = problem.num_classes, features.shape[1]
    labels = torch.arange(num_classes, device=features.device).repeat_interleave(problem.samples_per_class)
    way = choose_way(
        num_samples=len(features), num_classes=num_classes, dim=dim, budget=CHEAP_MULTIPLY_ADDS, has_samples=True
    )
    matrix = way == "columns" or dim < num_classes
    moments = Moments(
        num_classes=num_classes, dim=dim, second_moments="matrix" if matrix else "trace", device=features.device
    )
    for rows, class_indices in _tiles(features, labels):
        moments.update(rows, class_indices)
    statistics = LayerStatistics(
        moments,
        samples=Samples(tiles=list(_tiles(features, labels))),
        weights=_weights_applied_to(problem, variables, name),
        second_moments=way,
    )
    measurements = report_layer(statistics, labels=range(num_classes), metrics=METRICS, spectra=SPECTRA)
    return LayerReport(name=name, index=index, dim=dim, splits={}, **dict(measurements))


def _tiles(features: Float64[Tensor, "N d"], labels: Int64[Tensor, " N"]) -> Iterator[tuple[Tensor, Tensor]]:
    size = tile_rows(features.shape[1], str(features.device))
    for start in range(0, len(features), size):
        yield features[start : start + size], labels[start : start + size]


def _weights_applied_to(problem: Problem, variables: Variables, layer: str) -> AppliedWeights:
    """W_1 for H_1, W_l for relu(H_l); the layer of W_L counts as the last, for W_L is the classifier."""
    inputs = ["H_1", *(f"relu(H_{index})" for index in range(2, problem.depth + 1))]
    matrices = [weight[0] for weight in variables.weights]
    position = inputs.index(layer) if layer in inputs else None
    return AppliedWeights(
        layer=layer,
        last_layer=inputs[-1],
        num_classes=problem.num_classes,
        matrix=None if position is None else matrices[position],
        following=None
        if position is None or position + 1 == problem.depth
        else (inputs[position + 1], matrices[position + 1]),
        absence=None if layer in inputs else f"the model applies no matrix to {layer}: look at {', '.join(inputs)}",
    )


def dufm_report(
    command: Command,
    surroundings: Surroundings,
    problem: Problem,
    variables: Variables | None,
    *,
    seed: int | None,
    started: float,
    dtype: str = "float64",
    timings: Mapping[str, float] | None = None,
    warnings: Sequence[Warning] = (),
    artifacts: Sequence[str] = (),
    **results: Any,
) -> Report:
    """The report of a DUFM job: the layers of its solution, measured, around the `results` of its kind.

    variables: the solution, a batch of one run; None where there is none, and then no layers. started: of
    `time.perf_counter`, when the job began. dtype: what the results were computed in. results: `training`, `optimum` or
    `reproduction`, as `Report` has them.
    """
    measuring = time.perf_counter()
    layers = measure_solution(problem, variables, progress=surroundings.progress) if variables else ()
    catalogue = {name: REGISTRY[name].entry for name in METRICS} if layers else {}
    ended = time.perf_counter()
    return Report(
        job_id=surroundings.job_id,
        kind=command.kind,
        run=surroundings.run,
        step=surroundings.step,
        created_at=datetime.now(UTC),
        environment=Environment(
            service_version=surroundings.service_version,
            torch_version=str(torch.__version__),
            device=surroundings.device,
            dtype=dtype,
            seed=seed,
        ),
        num_samples=problem.num_samples,
        num_classes=problem.num_classes,
        class_counts={str(label): problem.samples_per_class for label in range(problem.num_classes)},
        catalogue=catalogue,
        layers=layers,
        summary=summarize(layers, catalogue, num_classes=problem.num_classes, previous=surroundings.previous_report())
        if layers
        else None,
        artifacts=tuple(artifacts),
        warnings=tuple(warnings),
        timings={**(timings or {}), "measuring_seconds": ended - measuring, "total_seconds": ended - started},
        **results,
    )
