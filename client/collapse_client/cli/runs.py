"""Commands about runs: `collapse runs`, `collapse run`, `collapse series`."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from collapse_client.cli.jobs import add_limit, page_size
from collapse_client.cli.printing import moment, print_facts, print_json, print_table
from collapse_client.cli.service import add_command, add_json, add_selection, connect
from collapse_client.errors import CollapseError
from collapse_client.gate.grammar import written

FORMATS = ("csv", "json", "parquet")


def add_commands(subparsers: Any) -> None:
    """Add runs, run and series."""
    runs = add_command(subparsers, "runs", _runs, "list runs, the last changed first")
    runs.add_argument("--query", metavar="TEXT", help="those whose names have this text in them")
    add_limit(runs)
    add_json(runs, "the runs")
    run = add_command(subparsers, "run", _run, "show a run: its steps, layers and metrics")
    run.add_argument("run", metavar="NAME")
    add_json(run, "the run")
    series = add_command(subparsers, "series", _series, "fetch a run's series: one row per step, layer and metric")
    series.add_argument("run", metavar="RUN")
    add_selection(series)
    series.add_argument("--compare", metavar="RUN", help="the rows of another run as well")
    series.add_argument("--history", action="store_true", help="also those that a later analysis of the step replaced")
    series.add_argument("--format", choices=FORMATS, help="default: by FILE, csv")
    series.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: standard output)")
    series.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def _runs(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        runs = list(islice(client.runs(query=arguments.query, limit=page_size(arguments.limit)), arguments.limit))
    if arguments.json:
        print_json(runs)
    else:
        rows = [(run["run"], _steps(run), _counts(run["jobs"]), moment(run["updated_at"])) for run in runs]
        print_table(("run", "steps", "jobs", "changed (UTC)"), rows)
    return 0


def _steps(run: Any) -> str:
    """The number of steps, and from which to which."""
    span = "" if run["first_step"] is None else f" ({run['first_step']} … {run['last_step']})"
    return f"{run['num_steps']}{span}"


def _counts(jobs: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in jobs.items() if number)


def _run(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        run = client.run(arguments.run)
    if arguments.json:
        print_json(run)
        return 0
    facts = {
        "run": run["run"],
        "steps": _steps(run),
        "jobs": _counts(run["jobs"]),
        "layers": list(map(written, run["layers"])),
        "metrics": run["metrics"],
    }
    print_facts(facts)
    print()
    header = ("step", "status", "job", "finished (UTC)", "replaced")
    rows = [
        (step["step"], step["status"], step["job_id"], moment(step["finished_at"]), len(step["replaced"]) or None)
        for step in run["steps"]
    ]
    print_table(header, rows)
    return 0


def _series(arguments: argparse.Namespace) -> int:
    form = arguments.format or next((form for form in FORMATS if (arguments.output or "").endswith(f".{form}")), "csv")
    if form == "parquet" and arguments.output is None and sys.stdout.isatty():
        raise CollapseError("Parquet is no text for a terminal: give --output FILE, or send it to a program.")
    with connect(arguments) as client:
        content = client.series_file(
            arguments.run,
            metrics=arguments.metric,
            layers=arguments.layer,
            compare=arguments.compare,
            history=arguments.history,
            format=form,
        )
    if arguments.output is not None:
        Path(arguments.output).write_bytes(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    return 0
