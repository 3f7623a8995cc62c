"""`collapse dufm`: train and search deep unconstrained features models, over grids too, and redo the paper's figures.

The options are the parameters of the service's kinds, by their names; what a value may be, the service says.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from collapse_client.cli.service import add_command, connect, names
from collapse_client.cli.submissions import add_following, follow

Parameters = dict[str, str]

MODEL: Parameters = {
    "num_classes": "K",
    "depth": "L, the number of weights",
    "width": "d: one for all layers, or d_1,…,d_L",
    "samples_per_class": "n",
    "weight_decay": "λ_W: one for all weights, or λ_W1,…,λ_WL",
    "feature_decay": "λ_H1",
    "seed": "of the first run or restart",
}
TRAIN: Parameters = {
    "learning_rate": "of gradient descent",
    "steps": "of gradient descent",
    "optimizer": "gd or adam",
    "loss": "mse or cross_entropy",
    "activation": "relu or linear",
    "init_scale": "scale of the random start",
    "runs": "seeds trained side by side",
    "record_every": "steps between two records",
    "stop_when": "share of the gradient's norm at which a run has converged; null: take all steps",
}
OPTIMUM: Parameters = {
    "restarts": "random starts, besides those from families of solutions",
    "budget_seconds": "time to search; null: until all restarts have ended",
}
FIGURE: Parameters = {"scale": "share of the paper's runs and steps", "seed": "of the first run"}
SWEEP: Parameters = {"repeats": "jobs per cell of the grid, each with seeds of its own"}
KINDS = {"train": "train_dufm", "optimum": "find_dufm_optimum"}
FIGURES = "fig2-top, fig3-left, fig3-middle, fig3-right, fig5 or fig6"


def add_commands(subparsers: Any) -> None:
    """Add dufm and its four commands."""
    dufm = subparsers.add_parser("dufm", help="train and search deep unconstrained features models")
    kinds = dufm.add_subparsers(metavar="WHAT", required=True)
    train = add_command(
        kinds, "train", _train, "train models by gradient descent, several seeds side by side", LEFT_OUT
    )
    _add_parameters(train, {**MODEL, **TRAIN})
    optimum = add_command(kinds, "optimum", _optimum, "search the best solution that a model has", LEFT_OUT)
    _add_parameters(optimum, {**MODEL, **OPTIMUM})
    sweep = add_command(kinds, "sweep", _sweep, "train or search at every point of a grid, one job a point", SWEEPING)
    sweep.add_argument("--base", choices=KINDS, default="train", help="what to do at each point (default: %(default)s)")
    sweep.add_argument(
        "--grid",
        type=_axis,
        action="append",
        required=True,
        metavar="NAME=A,B",
        help="a parameter and its values; may be repeated; a JSON list where a value is a list: width=[[30,20],[9,9]]",
    )
    _add_parameters(sweep, SWEEP)
    _add_parameters(sweep, MODEL)
    _add_parameters(sweep.add_argument_group("with --base train"), TRAIN)
    _add_parameters(sweep.add_argument_group("with --base optimum"), OPTIMUM)
    figure = add_command(kinds, "figure", _figure, "do an experiment of the paper again", LEFT_OUT)
    figure.add_argument("figure", metavar="FIGURE", help=FIGURES)
    _add_parameters(figure, FIGURE)
    for command in (train, optimum, sweep, figure):
        command.add_argument("--run", metavar="NAME", help="name to find the job by")
        command.add_argument("--tags", type=names, metavar="A,B", default=[], help="words to find the job by")
        add_following(command)


LEFT_OUT = "What is left out is the service's default; the job that --json prints has all parameters."
SWEEPING = f"""  collapse dufm sweep --num-classes 4 --depth 3 --grid weight_decay=0.001,0.004 --grid width=8,30

{LEFT_OUT}"""


def _add_parameters(parser: Any, parameters: Parameters) -> None:
    for name, text in parameters.items():
        read = _stop_when if name == "stop_when" else read_value
        # What is not given is not sent: the defaults are the service's.
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=read, default=argparse.SUPPRESS, metavar="VALUE", help=text
        )


def read_value(text: str) -> Any:
    """Read a value as JSON has it: a number, null, numbers separated by commas, JSON itself; all else is text.

    >>> read_value("30"), read_value("1e-3,0.004"), read_value("[[3, 2], 4]"), read_value("null"), read_value("adam")
    (30, [0.001, 0.004], [[3, 2], 4], None, 'adam')
    """
    if "," in text and not text.startswith(("[", "{")):
        return [read_value(part.strip()) for part in text.split(",")]
    for form in (int, float, json.loads):
        try:
            value = form(text)
        except ValueError:
            continue
        return text if isinstance(value, float) and not math.isfinite(value) else value
    return text


def _stop_when(text: str) -> Any:
    value = read_value(text)
    return value if value is None or isinstance(value, dict) else {"gradient_norm": value}


def _axis(text: str) -> tuple[str, Any]:
    name, sign, values = text.partition("=")
    if not sign or not name or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is no axis of a grid: write weight_decay=0.001,0.004")
    read = read_value(values)
    return name.strip().replace("-", "_"), read if isinstance(read, list) else [read]


def _given(arguments: argparse.Namespace, *groups: Parameters) -> dict[str, Any]:
    known = {name for group in groups for name in group}
    return {name: value for name, value in vars(arguments).items() if name in known}


def _submit(arguments: argparse.Namespace, kind: str, parameters: dict[str, Any]) -> int:
    with connect(arguments) as client:
        job = client.submit(kind, run=arguments.run, tags=arguments.tags, **parameters)
        return follow(client, job, arguments)


def _train(arguments: argparse.Namespace) -> int:
    return _submit(arguments, "train_dufm", _given(arguments, MODEL, TRAIN))


def _optimum(arguments: argparse.Namespace) -> int:
    return _submit(arguments, "find_dufm_optimum", _given(arguments, MODEL, OPTIMUM))


def _sweep(arguments: argparse.Namespace) -> int:
    # Options of the other kind are sent too: that it has no such parameter is for the service to say.
    base = {"kind": KINDS[arguments.base], **_given(arguments, MODEL, TRAIN, OPTIMUM)}
    parameters = {"base": base, "grid": dict(arguments.grid), **_given(arguments, SWEEP)}
    return _submit(arguments, "sweep_dufm", parameters)


def _figure(arguments: argparse.Namespace) -> int:
    return _submit(arguments, "reproduce_figure", {"figure": arguments.figure, **_given(arguments, FIGURE)})
