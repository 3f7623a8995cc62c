"""What goes from here to elsewhere: `collapse push` to the service, `collapse export` to other tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from collapse_client.cli.service import add_command, add_selection, connect
from collapse_client.progress import printable


def add_commands(subparsers: Any) -> None:
    """Add push and export."""
    push = add_command(subparsers, "push", _push, "send what a recorder left on disk while the service was away")
    push.add_argument(
        "folder", metavar="DIR", nargs="?", default="collapse-spool", help="its spool folder (default: %(default)s)"
    )
    export = subparsers.add_parser("export", help="take a run to TensorBoard or MLflow")
    tools = export.add_subparsers(metavar="TOOL", required=True)
    board = add_command(tools, "tensorboard", _tensorboard, "write a run's series to an event file of TensorBoard")
    board.add_argument("run", metavar="RUN")
    board.add_argument("--folder", default="runs", metavar="DIR", help="TensorBoard's --logdir (default: %(default)s)")
    board.add_argument("--no-histograms", action="store_true", help="without singular values: reports are not fetched")
    board.add_argument("--no-figures", action="store_true", help="without the last report's figures")
    mlflow = add_command(tools, "mlflow", _mlflow, "log a run's series and its last report to MLflow")
    mlflow.add_argument("run", metavar="RUN")
    mlflow.add_argument("--tracking-uri", metavar="URI", help="MLflow's server or database (default: MLflow's own)")
    mlflow.add_argument("--experiment", default="collapse", metavar="NAME", help="default: %(default)s")
    mlflow.add_argument("--run-id", metavar="ID", help="an MLflow run that is there already")
    for command in (board, mlflow):
        add_selection(command)


def _push(arguments: argparse.Namespace) -> int:
    from collapse_client.recording import push

    if not Path(arguments.folder).is_dir():  # as after everything was sent; or the name is not right
        print(f"{arguments.folder}: there is no such folder, and so nothing to send", file=sys.stderr)
    with connect(arguments) as client:
        result = push(client, Path(arguments.folder), on_step=lambda line: print(printable(line), flush=True))
    for folder in result.busy:
        print(f"{folder}: being sent by another process", file=sys.stderr)
    for folder in result.unfinished:
        print(f"{folder}: unfinished, not sent: its training still writes it, or was killed", file=sys.stderr)
    print(f"{len(result.sent)} sent, {len(result.refused)} refused")
    return 1 if result.refused else 0


def _tensorboard(arguments: argparse.Namespace) -> int:
    from collapse_client.exports.tensorboard import export_run

    with connect(arguments) as client:
        written = export_run(
            client,
            arguments.run,
            arguments.folder,
            metrics=arguments.metric,
            layers=arguments.layer,
            histograms=not arguments.no_histograms,
            figures=not arguments.no_figures,
        )
    print(written)
    return 0


def _mlflow(arguments: argparse.Namespace) -> int:
    from collapse_client.exports.mlflow import export_run

    with connect(arguments) as client:
        run_id = export_run(
            client,
            arguments.run,
            tracking_uri=arguments.tracking_uri,
            experiment=arguments.experiment,
            run_id=arguments.run_id,
            metrics=arguments.metric,
            layers=arguments.layer,
        )
    print(run_id)
    return 0
