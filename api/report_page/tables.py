"""The tables of a report: titles, heads and rows of words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from api.wording import STRUCTURES, counted, listed, number, plain, words

Report = Mapping[str, Any]
COLUMNS = 6
"""Metrics or layers side by side: what fits on a printed page."""
MOST_ROWS = 500


@dataclass(frozen=True)
class Table:
    """What is shown of it; the first cell of each row names the row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    left_out = len(rows) - MOST_ROWS
    note = f"{counted(left_out, 'row')} more in the report's JSON." if left_out > 0 else ""
    return Table(title, head, rows[:MOST_ROWS], note)


def tables(report: Report) -> list[Table]:
    """All that a report has, the results of its kind first."""
    return [*_statements(report), *_optimum(report), *_training(report), *_sweep(report), *_layers(report)]


def _layers(report: Report) -> Iterator[Table]:
    summaries = (report.get("summary") or {}).get("layers") or []
    if summaries:
        dims = [layer["dim"] for layer in report["layers"]]
        rows = [
            (
                layer["name"],
                str(dim),
                {True: "yes", False: "no", None: "–"}[layer["collapsed"]],
                STRUCTURES.get(layer["structure"], "–") if layer["structure"] else "–",
                plain(layer["rank"]),
                layer["rank_is"] or "–",
            )
            for layer, dim in zip(summaries, dims, strict=True)
        ]
        yield _table("Layers", ("layer", "dimension", "collapsed", "structure", "rank", "rank is"), rows)
    yield from _metrics(report)


def _metrics(report: Report) -> Iterator[Table]:
    """Metrics by layers while these fit side by side, else layers by metrics, a few of them in each table."""
    layers = report["layers"]
    measured = [name for name in report["catalogue"] if any(layer["metrics"].get(name) is not None for layer in layers)]
    if 0 < len(layers) <= COLUMNS and measured:
        rows = [
            (
                words(name),
                plain(report["catalogue"][name]["ideal"]),
                *(number(layer["metrics"].get(name)) for layer in layers),
            )
            for name in measured
        ]
        yield _table("Metrics by layer", ("metric", "ideal", *(layer["name"] for layer in layers)), rows)
        return
    for number_of, names in enumerate(_batches(measured, COLUMNS), 1):
        rows = [(layer["name"], *(number(layer["metrics"].get(name)) for name in names)) for layer in layers]
        yield _table(f"Metrics by layer, {number_of}", ("layer", *map(words, names)), rows)


def _batches(names: Sequence[str], size: int) -> Iterator[list[str]]:
    there = iter(names)
    while batch := list(islice(there, size)):
        yield batch


def _statements(report: Report) -> Iterator[Table]:
    reproduction = report.get("reproduction")
    if reproduction:
        agrees = {True: "agrees", False: "does not agree", None: "cannot be told"}
        rows = [
            (
                statement["statement"],
                agrees[statement["agrees"]],
                "; ".join(f"{words(name)}: {plain(value)}" for name, value in statement["measured"].items()),
                statement["source"],
            )
            for statement in reproduction["statements"]
        ]
        yield _table("What the paper says", ("statement", "verdict", "measured", "source"), rows)


def _references(references: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    reasons, srg = references.get("reasons", {}), references.get("srg")
    named = {
        "zero": references["zero"],
        "dnc": references["dnc"],
        "srg": srg and srg["loss"],
        "best_known": references["best_known"],
        "lower_bound": references["lower_bound"],
    }
    rows = [
        (STRUCTURES.get(name, words(name)), number(loss), reasons.get(name, "") if loss is None else "")
        for name, loss in named.items()
    ]
    return rows + [
        (f"family: {family['family']}", number(family["loss"]), f"rank {family['rank']}")
        for family in references.get("families", ())
    ]


def _optimum(report: Report) -> Iterator[Table]:
    optimum = report.get("optimum")
    if optimum:
        found = [("found", number(optimum["loss"]), f"from {optimum['start']}")]
        yield _table("Losses", ("solution", "loss", ""), found + _references(optimum["references"]))


def _training(report: Report) -> Iterator[Table]:
    training = report.get("training")
    if training:
        rows = [
            (
                str(run["seed"]),
                number(run["loss"]),
                number(run["fit"]),
                number(run["regularization"]),
                STRUCTURES.get(run["structure"], run["structure"]),
                words(run["stop_reason"]),
            )
            for run in training["runs"]
        ]
        head = ("seed", "loss", "fit", "regularization", "structure", "stopped by")
        yield _table("Runs", head, rows)
        yield _table("Losses to compare with", ("solution", "loss", ""), _references(training["references"]))


def _sweep(report: Report) -> Iterator[Table]:
    sweep = report.get("sweep")
    if sweep:
        parameters = list(sweep["grid"])
        fields = ("loss", "loss_over_dnc", "rank_mean", "dnc_share")
        rows = [
            (
                *(plain(cell["values"][name]) for name in parameters),
                *(number(cell[field]) for field in fields),
                f"{cell['succeeded']} of {len(cell['jobs'])}",
            )
            for cell in sweep["cells"]
        ]
        head = (*map(words, parameters), "least loss", "over that of DNC", "mean rank", "share of DNC", "jobs")
        yield _table("Cells", head, rows)
        failures = [
            (failure["job_id"], failure["status"], plain(failure["values"]), plain(failure["detail"]))
            for failure in sweep["failures"]
        ]
        if failures:
            yield _table("Jobs without a result", ("job", "status", "values", "why"), failures)


def warnings(report: Report) -> list[tuple[str, str]]:
    """Where, and what; the layers that have the same one together."""
    found: dict[tuple[str, str], list[str]] = {}
    for layer in report["layers"]:
        for warning in layer["warnings"]:
            detail = warning["detail"].replace(f".{layer['name']}'", ".<layer>'")  # the same of every layer, once
            key = (detail, listed([words(metric) for metric in warning["metrics"]]))
            found.setdefault(key, []).append(layer["name"])
    everywhere = [("the report", warning["detail"]) for warning in report["warnings"]]
    return everywhere + [
        (listed(layers), f"{detail} ({metrics})" if metrics else detail) for (detail, metrics), layers in found.items()
    ]
