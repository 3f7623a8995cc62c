"""Panels: rows of numbers, and what is drawn how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.dufm.model import Variables, class_means, layer_matrices
from analysis.dufm.problem import Problem
from analysis.dufm.report import Band, Panel, References, Training

Matrix = Float64[Tensor, "rows columns"]
BEFORE, AFTER, ALONE = "before σ", "after σ", "without σ"


def losses(name: str, title: str, training: Training, lines: Mapping[str, float]) -> Panel:
    """Loss, fit and regularization over the steps, mean and one standard deviation of the runs."""
    trajectory = training.trajectory
    rows = [
        row
        for part in ("fit", "regularization", "loss")
        for row in _band_rows(trajectory.step, getattr(trajectory, part), part)
    ]
    return Panel(
        name=name,
        title=title,
        rows=tuple(rows),
        encoding={
            **_over_steps(color="part"),
            "y_title": "loss, mean ± 1 standard deviation of the runs",
            "y_scale": "log",
        },
        reference_lines=dict(lines),
    )


def variability(name: str, title: str, training: Training) -> Panel:
    """Within-class over between-class variance of each layer over the steps: DNC1."""
    bands = training.trajectory.metrics["variability_trace_ratio"]
    rows = [row for layer, band in bands.items() for row in _band_rows(training.trajectory.step, band, layer)]
    return Panel(
        name=name,
        title=title,
        rows=tuple({"layer": row.pop("part"), **row} for row in rows),
        encoding={
            **{key: value for key, value in _over_steps(color="layer").items() if key not in ("low", "high")},
            "order": "depth",
            "y_title": "within-class / between-class variance",
            "y_scale": "log",
        },
    )


def singular_values(name: str, title: str, values: Mapping[str, Sequence[float | None]]) -> Panel:
    """Of layers by name, largest first: H_l and relu(H_l) in one panel."""
    rows: list[dict[str, Any]] = []
    for layer, spectrum in values.items():
        inner = layer.removeprefix("relu(").removesuffix(")")
        sigma = AFTER if inner != layer else ALONE if layer in ("H_1", "output") else BEFORE
        rows += [
            {"layer": inner, "sigma": sigma, "number": number, "value": value}
            for number, value in enumerate(spectrum, 1)
        ]
    return Panel(
        name=name,
        title=title,
        rows=tuple(rows),
        encoding={
            "mark": "points",
            "x": "number",
            "y": "value",
            "color": "sigma",
            "facet": "layer",
            "x_title": "number, from the largest",
            "y_title": "singular value",
            "y_scale": "log",
        },
    )


def at_the_end(training: Training) -> dict[str, Sequence[float | None]]:
    """Singular values of each layer's class means at the last recorded step, mean of the runs."""
    return {layer: band.mean[-1] for layer, band in training.trajectory.singular_values.items()}


def matrix(name: str, title: str, values: Matrix, *, rows: str, columns: str = "class") -> Panel:
    """A matrix as coloured cells, row 0 at the top."""
    return Panel(
        name=name,
        title=title,
        rows=tuple(
            {"row": row, "column": column, "value": value}
            for row, line in enumerate(values.tolist())
            for column, value in enumerate(line)
        ),
        encoding={
            "mark": "rect",
            "x": "column",
            "y": "row",
            "color": "value",
            "x_title": columns,
            "y_title": rows,
            "color_title": "inner product" if rows == columns else "class mean",
        },
    )


def gram(name: str, title: str, means: Matrix) -> Panel:
    """MᵀM."""
    return matrix(name, title, means.T @ means, rows="class")


def means_of(problem: Problem, solution: Variables) -> dict[str, Matrix]:
    """The class means of each layer (d × K), of one run."""
    matrices = layer_matrices(problem, solution)
    return {layer: class_means(problem, found)[0].to(torch.float64) for layer, found in matrices.items()}


def curve(
    name: str, title: str, rows: Iterable[Mapping[str, Any]], *, lines: Mapping[str, float], **encoding: str
) -> Panel:
    """Points joined by lines."""
    return Panel(
        name=name,
        title=title,
        rows=tuple(map(dict, rows)),
        encoding={"mark": "points", **encoding},
        reference_lines=dict(lines),
    )


def reference_lines(references: References) -> dict[str, float]:
    """The losses of DNC, SRG and the best known solution, those that there are."""
    found = {
        "DNC": references.dnc,
        "SRG": references.srg.loss if references.srg else None,
        "best known": references.best_known,
    }
    return {name: loss for name, loss in found.items() if loss is not None}


def _over_steps(color: str) -> dict[str, str]:
    return {
        "mark": "line",
        "x": "step",
        "y": "mean",
        "low": "low",
        "high": "high",
        "color": color,
        "x_title": "step of gradient descent",
    }


def _band_rows(steps: Sequence[int], band: Band, part: str) -> list[dict[str, Any]]:
    rows = []
    for step, mean, std in zip(steps, band.mean, band.std, strict=True):
        if mean is not None and std is not None:
            rows.append({"part": part, "step": step, "mean": mean, "low": mean - std, "high": mean + std})
    return rows
