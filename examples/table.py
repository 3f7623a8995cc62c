"""What the reports of the first and the last epoch say, as a table and in a few sentences."""

from __future__ import annotations

from typing import Any

Report = dict[str, Any]
Layer = dict[str, Any]

COLUMNS = {
    "trace ratio": "variability_trace_ratio",
    "NC1": "within_class_variability",
    "rank": "class_mean_rank",
    "simplex distance": "simplex_etf_distance",
    "nearest centre": "nearest_center_accuracy",
}
COLLAPSED = 0.1
"""Trace ratio below which we speak of collapse: the spread within the classes is a tenth of that between them."""


def print_table(first: Report, last: Report) -> None:
    """Print a line for each layer; in each column the metric at the first and at the last epoch."""
    names = [f"epoch {first['step']} → {last['step']}", *(layer["name"] for layer in last["layers"])]
    lines = [[f"{title:^{2 * _width(title) + 3}}" for title in COLUMNS]]
    for before, after in zip(first["layers"], last["layers"], strict=True):
        lines.append(
            [
                f"{_cell(before, metric):>{_width(title)}} → {_cell(after, metric):<{_width(title)}}"
                for title, metric in COLUMNS.items()
            ]
        )
    for name, cells in zip(names, lines, strict=True):
        print(f"{name:{max(map(len, names))}}  {'  '.join(cells)}".rstrip())


def _width(title: str) -> int:
    return 2 if title == "rank" else 10


def _cell(layer: Layer, metric: str) -> str:
    value = layer["metrics"][metric]
    return "–" if value is None else f"{value:.6g}"


def summarize(first: Report, last: Report) -> list[str]:
    """Say in a few sentences where rank and collapse of the layers stand."""
    simplex = last["num_classes"] - 1
    ranks = {layer["name"]: layer["metrics"]["class_mean_rank"] for layer in last["layers"]}
    low = [f"{name} ({rank:g})" for name, rank in ranks.items() if rank < simplex]
    nearest = min(last["layers"], key=lambda layer: layer["metrics"]["simplex_etf_distance"])
    first_ratio, last_ratio = (last["layers"][index]["metrics"]["variability_trace_ratio"] for index in (0, -1))
    return [
        f"Collapsed (trace ratio below {COLLAPSED}) at epoch {first['step']}: {_collapsed(first)}.",
        f"Collapsed at epoch {last['step']}: {_collapsed(last)}.",
        f"Through the layers the trace ratio goes from {first_ratio:.3g} to {last_ratio:.3g}.",
        f"Class means of lower rank than the {simplex} of a simplex: {', '.join(low) or 'no layer'}.",
        f"Nearest to a simplex: {nearest['name']}, at a distance of {nearest['metrics']['simplex_etf_distance']:.3g}.",
    ]


def _collapsed(report: Report) -> str:
    ratios = {layer["name"]: layer["metrics"]["variability_trace_ratio"] for layer in report["layers"]}
    return ", ".join(name for name, ratio in ratios.items() if ratio < COLLAPSED) or "no layer"
