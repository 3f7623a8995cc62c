"""Commands about what a job leaves: `collapse report`, `collapse plot`, `collapse artifact`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from collapse_client.cli.printing import print_json, print_table
from collapse_client.cli.service import add_command, add_json, connect, names
from collapse_client.gate.aliases import metric_name

FORMATS = ("svg", "png", "vl.json")


def add_commands(subparsers: Any) -> None:
    """Add report, plot and artifact."""
    report = add_command(subparsers, "report", _report, "show the report of a job")
    report.add_argument("job", metavar="ID")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--table", action="store_true", help="in short, as tables (the default)")
    form.add_argument("--json", action="store_true", help="all of it, as JSON")
    form.add_argument("--html", metavar="FILE", help="write it as one page, with its figures, to send to a colleague")
    report.add_argument("--metrics", type=names, metavar="A,B", help="columns of the table, such as rank,nc1,equinorm")
    plot = add_command(subparsers, "plot", _plot, "fetch a figure of a job or a run; without NAME, list them")
    plot.add_argument("of", metavar="ID", help="a job; with --run, the name of a run")
    plot.add_argument("name", metavar="NAME", nargs="?", help="of the figure; with --run, of a metric: by step")
    plot.add_argument("--run", action="store_true", help="draw a run")
    plot.add_argument("--compare", metavar="RUN", help="with --run: another run, dashed")
    plot.add_argument("--layer", action="append", metavar="NAME", help="with --run; may be repeated (default: all)")
    plot.add_argument("--theme", default="light", help="light or dark (default: %(default)s)")
    plot.add_argument("--format", choices=FORMATS, help="vl.json: the Vega-Lite specification (default: by FILE, svg)")
    plot.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: NAME.FORMAT)")
    add_json(plot, "the list of figures")
    artifact = add_command(subparsers, "artifact", _artifact, "fetch a file that a job left; without NAME, list them")
    artifact.add_argument("job", metavar="ID")
    artifact.add_argument("name", metavar="NAME", nargs="?")
    artifact.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: NAME)")
    add_json(artifact, "the list of files")


def _report(arguments: argparse.Namespace) -> int:
    from collapse_client.cli.report_tables import print_report

    with connect(arguments) as client:
        if arguments.html is not None:
            Path(arguments.html).write_bytes(client.report_html(arguments.job))
            return 0
        report = client.report(arguments.job)
    print_json(report) if arguments.json else print_report(report, arguments.metrics)
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        if arguments.name is None:
            plots = client.run_plots(arguments.of) if arguments.run else client.plots(arguments.of)
            rows = [(plot["name"], plot["title"]) for plot in plots]
            print_json(plots) if arguments.json else print_table(("name", "title"), rows)
            return 0
        form = arguments.format or format_of(arguments.output)
        if arguments.run:
            of_run = {"layers": arguments.layer, "compare": arguments.compare, "theme": arguments.theme}
            content = client.run_plot(arguments.of, metric_name(arguments.name), form, **of_run)
        else:
            content = client.plot(arguments.of, arguments.name, form, theme=arguments.theme)
    write(content, arguments.output or f"{Path(arguments.name).name}.{form}")
    return 0


def format_of(path: str | None) -> str:
    """Return the format that a file's name asks for.

    >>> format_of("ranks.png"), format_of("ranks.vl.json"), format_of(None)
    ('png', 'vl.json', 'svg')
    """
    return next((form for form in FORMATS if path is not None and path.endswith(f".{form}")), FORMATS[0])


def write(content: bytes, path: str) -> None:
    """Write a file and say where."""
    Path(path).write_bytes(content)
    print(path)


def _artifact(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        if arguments.name is None:
            artifacts = client.artifacts(arguments.job)
            rows = [(artifact["name"], artifact["size_bytes"]) for artifact in artifacts]
            print_json(artifacts) if arguments.json else print_table(("name", "bytes"), rows)
            return 0
        content = client.artifact(arguments.job, arguments.name)
    write(content, arguments.output or Path(arguments.name).name)
    return 0
