"""Reports and series as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from collapse_client.errors import MissingLibrary

if TYPE_CHECKING:
    import pandas

    from collapse_client.reports.dufm import Sweep, Trajectory
    from collapse_client.reports.layers import Measurements
    from collapse_client.reports.report import Report

SERIES = {
    "run": "str",
    "step": "Int64",  # an analysis may have none
    "layer": "str",
    "layer_index": "int64",
    "metric": "str",
    "value": "float64",
    "job_id": "str",
}
"""Columns of a series, and of a report in the same form."""
CURVES = ("loss", "fit", "regularization")
STATISTICS = ("mean", "std", "min", "max")


def series_frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """The rows of a series as a data frame: run, step, layer, layer_index, metric, value, job_id.

    `step` is an integer that may be missing (Int64), `value` is NaN where a metric is undefined. Raises MissingLibrary.

    >>> row = {"run": "a", "step": 3, "layer": "x", "layer_index": 0, "metric": "m", "value": None, "job_id": "j"}
    >>> frame = series_frame([row, {**row, "step": 4, "value": 0.5}])
    >>> frame.pivot(index="step", columns="layer", values="value").loc[4, "x"].item()
    0.5
    """
    return _frame(rows, SERIES)


def report_frame(report: Report, split: str | None) -> pandas.DataFrame:
    """A report in the form of a series."""
    placed = {name: report.get(name) for name in ("run", "step", "job_id")}
    return _frame(
        (
            {**placed, "layer": layer.name, "layer_index": layer.index, "metric": metric, "value": value}
            for layer, measured in _measured(report, split)
            for metric, value in measured.metrics.items()
        ),
        SERIES,
    )


def layers_frame(report: Report, split: str | None) -> pandas.DataFrame:
    """A report with one row per layer and one column per metric, in the order of the catalogue."""
    metrics = dict.fromkeys(chain(report.get("catalogue") or (), *(layer["metrics"] for layer in report["layers"])))
    columns = {"layer": "str", "layer_index": "int64", "dim": "int64", **dict.fromkeys(metrics, "float64")}
    rows = (
        {**measured.metrics, "layer": layer.name, "layer_index": layer.index, "dim": layer.dim}
        for layer, measured in _measured(report, split)
    )
    return _frame(rows, columns).set_index("layer")


def trajectory_frame(trajectory: Trajectory) -> pandas.DataFrame:
    """What training was like: step, metric, layer, mean, std, min, max."""
    named = [(name, None, trajectory[name]) for name in CURVES]
    named += [(name, layer, band) for name, bands in trajectory["metrics"].items() for layer, band in bands.items()]
    rows = (
        {
            "step": step,
            "metric": metric,
            "layer": layer,
            **{name: band[name][place] for name in STATISTICS if name in band},
        }
        for metric, layer, band in named
        for place, step in enumerate(trajectory["step"])
    )
    return _frame(rows, {"step": "int64", "metric": "str", "layer": "str", **dict.fromkeys(STATISTICS, "float64")})


def sweep_frame(sweep: Sweep) -> pandas.DataFrame:
    """One row per cell: its parameters, then the numbers found in it."""
    pd = _pandas()
    single = ("succeeded", "failed", "cancelled", "diverged", "loss", "loss_over_dnc", "rank_mean", "dnc_share")
    cells = [{**cell["values"], **{name: cell[name] for name in single}} for cell in sweep["cells"]]
    return pd.DataFrame(cells, columns=[*sweep["grid"], *single])


def _measured(report: Report, split: str | None) -> Sequence[tuple[Any, Measurements]]:
    """Each layer with what was measured of it on the samples asked for."""
    if split is None:
        return [(layer, layer) for layer in report.layers]
    there = dict.fromkeys(chain.from_iterable(layer["splits"] for layer in report["layers"]))
    if split not in there:
        raise KeyError(f"no split {split!r}; besides the first, this report has {', '.join(there) or 'none'}")
    return [(layer, layer.splits[split]) for layer in report.layers if split in layer["splits"]]


def _frame(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pandas.DataFrame:
    pd = _pandas()
    listed = list(rows)
    # Column by column: a frame that is built from rows guesses types, of none but nulls or of nothing wrongly.
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in listed], dtype=dtype) for name, dtype in columns.items()}
    )


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingLibrary("pandas", extra="pandas") from error
    return pandas
