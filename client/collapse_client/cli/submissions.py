"""Commands that submit: `collapse analyse`, `collapse submit`; and what becomes of a job that was submitted."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_client.cli.printing import print_json
from collapse_client.cli.service import add_command, add_json, connect, metric_names, names, wait
from collapse_client.errors import CollapseError

if TYPE_CHECKING:
    from collapse_client.client import Client
    from collapse_client.views import JobView


def add_commands(subparsers: Any) -> None:
    """Add analyse and submit."""
    analyse = add_command(subparsers, "analyse", _analyse, "send a feature file to the service, which measures it")
    analyse.add_argument("file", metavar="FILE", help="safetensors or npz; features or moments")
    analyse.add_argument("--run", help="name of the training that the features come from")
    analyse.add_argument("--step", type=int, help="step or epoch of the training")
    analyse.add_argument("--tags", type=names, default=[], metavar="A,B", help="words to find the job by")
    analyse.add_argument("--layers", type=names, metavar="A,B", help="which layers, in this order (default: all)")
    analyse.add_argument("--metrics", type=metric_names, metavar="A,B", help="which metrics (default: the service's)")
    add_following(analyse)
    submit = add_command(subparsers, "submit", _submit, "submit a job of any kind")
    submit.add_argument("file", metavar="FILE", help="JSON: kind, parameters of the kind, run, step, tags; - for stdin")
    add_following(submit)


def add_following(parser: argparse.ArgumentParser) -> None:
    """Add --wait and --json to a command that submits a job."""
    parser.add_argument("--wait", action="store_true", help="wait for the report and show it in short")
    add_json(parser, "the job, or with --wait the whole report,")


def follow(client: Client, job: JobView, arguments: argparse.Namespace) -> int:
    """Print the job's id; with --wait, its report."""
    from collapse_client.cli.report_tables import print_report

    if arguments.wait:
        if not arguments.json:
            print(job["id"], flush=True)
        report = client.report(wait(client, job["id"])["id"])
        print_json(report) if arguments.json else print_report(report)
    elif arguments.json:
        print_json(job)
    else:
        print(job["id"])
    return 0


def _analyse(arguments: argparse.Namespace) -> int:
    options = {name: getattr(arguments, name) for name in ("run", "step", "tags", "layers", "metrics")}
    with connect(arguments) as client:
        return follow(client, client.analyse(arguments.file, **options), arguments)


def _submit(arguments: argparse.Namespace) -> int:
    content = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    try:
        job = json.loads(content)
    except ValueError as error:
        raise CollapseError(f"{arguments.file} is not JSON: {error}") from error
    if not isinstance(job, dict) or "kind" not in job:
        raise CollapseError(f"{arguments.file} must be a JSON object with a kind, such as train_dufm")
    with connect(arguments) as client:
        return follow(client, client.submit(**job), arguments)
