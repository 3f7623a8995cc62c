"""A report in short: what each kind of job found, as tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from collapse_client.cli.printing import NOTHING, cell, print_facts, print_table
from collapse_client.errors import CollapseError
from collapse_client.gate.aliases import metric_name
from collapse_client.progress import printable

COLUMNS = ("rank", "nc1", "nc2", "nc3", "ncc")
MOST_RUNS = 10


def print_report(report: Mapping[str, Any], metrics: Sequence[str] | None = None) -> None:
    """Print what the report's kind found, and its warnings; `metrics`: columns of the table of layers."""
    placed = {name: report[name] for name in ("kind", "run", "step")}
    print_facts({**placed, "samples": report["num_samples"] or None, "classes": report["num_classes"] or None})
    for part, show in PARTS.items():
        if report.get(part):
            print()
            show(report[part])
    if report["layers"]:
        print()
        _print_layers(report, metrics)
    _print_warnings(report)


def _print_layers(report: Mapping[str, Any], metrics: Sequence[str] | None) -> None:
    layers = report["layers"]
    measured = {name for layer in layers for name in layer["metrics"]}
    asked = {name: metric_name(name) for name in metrics or COLUMNS}
    if metrics:
        unknown = [name for name in metrics if metric_name(name) not in measured]
        if unknown:
            raise CollapseError(f"the report has no {', '.join(unknown)}; it has {', '.join(sorted(measured))}")
    columns = {name: metric for name, metric in asked.items() if metric in measured}
    verdicts = {layer["name"]: layer["collapsed"] for layer in (report["summary"] or {"layers": ()})["layers"]}
    header = ("layer", "dim", *columns, "structure", *(["collapsed"] if verdicts else []))
    rows = []
    for layer in layers:
        values = [layer["metrics"].get(metric) for metric in columns.values()]
        structure = layer["structure"] and words(layer["structure"]["kind"])
        verdict = [verdicts.get(layer["name"])] if verdicts else []
        rows.append((layer["name"], layer["dim"], *values, structure, *verdict))
    print_table(header, rows)


def _print_warnings(report: Mapping[str, Any]) -> None:
    """Print each kind of warning once: the layers that have it, and what it says about the first of them."""
    found = [("the report", warning) for warning in report["warnings"]]
    found += [(layer["name"], warning) for layer in report["layers"] for warning in layer["warnings"]]
    layers: dict[str, list[str]] = defaultdict(list)
    details: dict[str, str] = {}
    for name, warning in found:
        layers[warning["code"]].append(name)
        details.setdefault(warning["code"], warning["detail"])
    if found:
        print("\nwarnings")
    for code, detail in details.items():
        print(f"  {code} ({_some(layers[code])}): {printable(detail)}")


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(map(printable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _print_training(training: Mapping[str, Any]) -> None:
    runs = sorted(training["runs"], key=lambda run: float("inf") if run["loss"] is None else run["loss"])
    losses = ("seed", "loss", "fit", "regularization")
    rows = [
        (
            *(run[name] for name in losses),
            words(run["structure"]),
            ranks(run["ranks"]),
            run["steps"],
            words(run["stop_reason"]),
        )
        for run in runs[:MOST_RUNS]
    ]
    print_table((*losses, "structure", "ranks", "steps", "stopped by"), rows)
    if len(runs) > MOST_RUNS:
        print(f"… and {len(runs) - MOST_RUNS} runs of greater loss")
    print_references(training["references"])
    for advice in training["advice"]:
        print(f"\n{printable(advice)}")


def words(name: str | None) -> str | None:
    """Return one of the service's words as people write it: that is also where it may be folded."""
    return None if name is None else name.replace("_", " ")


def ranks(by_layer: Mapping[str, int | None]) -> str:
    """Return the ranks along depth in one cell.

    >>> ranks({"H_1": 5, "relu(H_2)": 10, "output": None})
    '5 10 –'
    """
    return " ".join(map(cell, by_layer.values()))


def _print_optimum(optimum: Mapping[str, Any]) -> None:
    print_solution(optimum)
    print_references(optimum["references"])


def print_solution(solution: Mapping[str, Any]) -> None:
    """Print an optimum, of a report or of the catalogue."""
    print_facts(
        {
            "decay": solution.get("decay"),
            "loss": solution["loss"],
            "fit": solution["fit"],
            "regularization": solution["regularization"],
            "structure": solution["structure"],
            "ranks": [f"{layer} {cell(rank)}" for layer, rank in solution["ranks"].items()],
            "gap to bound": solution["gap"],
            "found from": solution["start"],
            "reached by": solution.get("reached_by"),
            "stationary": solution["stationarity"]["stationary"],
        }
    )


def print_references(references: Mapping[str, Any]) -> None:
    """Print the losses to compare with; one that is null with its reason."""
    rows = []
    for name in ("zero", "dnc", "srg", "best_known", "lower_bound"):
        value = references[name]
        loss = value["loss"] if isinstance(value, Mapping) else value
        rows.append((name, loss, references["reasons"].get(name, "") if loss is None else ""))
    rows += [(family["family"], family["loss"], f"rank {family['rank']}") for family in references["families"]]
    print()
    print_table(("reference", "loss", ""), rows)


def _print_sweep(sweep: Mapping[str, Any]) -> None:
    grid = list(sweep["grid"])
    fields = ("loss", "loss_over_dnc", "rank_mean", "dnc_share")
    rows = []
    for found in sweep["cells"]:
        structures = ", ".join(f"{name} {count}" for name, count in found["structures"].items()) or NOTHING
        jobs = f"{found['succeeded']}/{len(found['jobs'])}"
        rows.append((*(found["values"][name] for name in grid), jobs, *(found[name] for name in fields), structures))
    print_table((*grid, "succeeded", "loss", "loss / DNC", "mean rank", "DNC share", "structures"), rows)
    for failure in sweep["failures"]:
        detail = printable(failure["detail"] or "")
        print(f"\n{failure['job_id']} {failure['status']} at {failure['values']}: {detail}")


def _print_reproduction(reproduction: Mapping[str, Any]) -> None:
    verdicts = {True: "agrees", False: "disagrees", None: "cannot tell"}
    rows = [(verdicts[said["agrees"]], said["statement"], said["source"]) for said in reproduction["statements"]]
    print_table(("", "statement", "source"), rows)


PARTS = {
    "training": _print_training,
    "optimum": _print_optimum,
    "sweep": _print_sweep,
    "reproduction": _print_reproduction,
}
"""Part of a report → how it is printed."""
