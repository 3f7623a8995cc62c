"""The command line: `collapse`. Installed packages add commands through the entry-point group `collapse.commands`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_client.errors import CollapseError
from collapse_client.format.errors import FormatError

if TYPE_CHECKING:
    from collapse_client.client import Client
    from collapse_client.views import JobView

GROUP = "collapse.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.handler(parsed))
    except (CollapseError, FormatError, OSError) as error:
        print(f"collapse: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with the commands of every installed package."""
    parser = argparse.ArgumentParser(prog="collapse", description="Measure how the features of a classifier collapse.")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry_point in _entry_points():
        try:
            entry_point.load()(subparsers)
        except ImportError as error:
            print(f"collapse: the commands of {entry_point.value} cannot be loaded ({error})", file=sys.stderr)
    add_commands(subparsers)
    return parser


def add_commands(subparsers: Any) -> None:
    """Add the client's own commands."""
    version = subparsers.add_parser("version", help="print the versions of the client and of what adds commands")
    version.set_defaults(handler=_version)
    analyse = subparsers.add_parser("analyse", help="send a feature file to the service")
    analyse.add_argument("file", metavar="FILE", help="safetensors or npz")
    analyse.add_argument("--run", help="name of the training that the features come from")
    analyse.add_argument("--step", type=int, help="step or epoch of the training")
    analyse.add_argument("--layers", help="order of the layers, separated by commas")
    analyse.add_argument("--wait", action="store_true", help="wait for the report and print it")
    analyse.set_defaults(handler=_analyse)
    submit = subparsers.add_parser("submit", help="submit a job of any kind")
    submit.add_argument("file", metavar="FILE", help="JSON: kind, parameters of the kind, run, step, tags; - for stdin")
    submit.add_argument("--wait", action="store_true", help="wait for the report and print it")
    submit.set_defaults(handler=_submit)
    report = subparsers.add_parser("report", help="print the report of a job")
    report.add_argument("job", metavar="ID")
    report.set_defaults(handler=_report)
    artifact = subparsers.add_parser("artifact", help="fetch a file that a job left; without NAME, list them")
    artifact.add_argument("job", metavar="ID")
    artifact.add_argument("name", metavar="NAME", nargs="?")
    artifact.add_argument("--output", metavar="FILE", help="where to write it (default: NAME)")
    artifact.set_defaults(handler=_artifact)
    url = os.environ.get("COLLAPSE_URL", "http://127.0.0.1:8000")
    for command in (analyse, submit, report, artifact):
        command.epilog = "Environment: COLLAPSE_URL; COLLAPSE_API_KEY, which a command line would show to others."
        command.add_argument("--url", default=url, help="address of the service (default: %(default)s)")


def _entry_points() -> Iterable[metadata.EntryPoint]:
    if sys.version_info >= (3, 10):
        return metadata.entry_points(group=GROUP)
    return metadata.entry_points().get(GROUP, ())


def _version(_: argparse.Namespace) -> int:
    print(f"collapse-client {metadata.version('collapse-client')}")
    for entry_point in _entry_points():
        distribution = getattr(entry_point, "dist", None)  # Python 3.9 does not tell
        if distribution is not None:
            print(f"{distribution.metadata['Name']} {distribution.version}")
    return 0


def _analyse(arguments: argparse.Namespace) -> int:
    layers = None if arguments.layers is None else arguments.layers.split(",")
    with _client(arguments) as client:
        job = client.analyse(arguments.file, run=arguments.run, step=arguments.step, layers=layers)
        return _follow(client, job, wait=arguments.wait)


def _submit(arguments: argparse.Namespace) -> int:
    content = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    try:
        job = json.loads(content)
    except ValueError as error:
        raise CollapseError(f"{arguments.file} is not JSON: {error}") from error
    if not isinstance(job, dict) or "kind" not in job:
        raise CollapseError(f"{arguments.file} must be a JSON object with a kind, such as train_dufm")
    with _client(arguments) as client:
        return _follow(client, client.submit(**job), wait=arguments.wait)


def _follow(client: Client, job: JobView, *, wait: bool) -> int:
    if not wait:
        print(job["id"])
        return 0
    print(f"job {job['id']}", file=sys.stderr)
    try:
        client.wait(job, on_progress=_show_progress)
    finally:
        print(file=sys.stderr)
    _print_json(client.report(job["id"]))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        _print_json(client.report(arguments.job))
    return 0


def _artifact(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        if arguments.name is None:
            for artifact in client.artifacts(arguments.job):
                print(f"{artifact['size_bytes']:>12} {artifact['name']}")
        else:
            content = client.artifact(arguments.job, arguments.name)
            Path(arguments.output or Path(arguments.name).name).write_bytes(content)
    return 0


def _client(arguments: argparse.Namespace) -> Client:
    from collapse_client.client import Client  # here, so that the other commands start without HTTP

    return Client(arguments.url, api_key=os.environ.get("COLLAPSE_API_KEY"))


def _show_progress(job: JobView) -> None:
    progress = job["progress"]
    line = f"{progress['fraction']:4.0%} {progress['phase'] or job['status']:<30}"
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
