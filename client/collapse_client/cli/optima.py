"""`collapse optima`: the catalogue of best known DUFM optima."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from collapse_client.cli.printing import print_json, print_table
from collapse_client.cli.report_tables import print_references, print_solution
from collapse_client.cli.reports import format_of, write
from collapse_client.cli.service import add_command, add_json, connect

HEADER = ("K", "L", "decay", "loss", "loss / DNC", "structure", "rank", "gap", "found from")
FIELDS = ("num_classes", "depth", "decay", "loss", "loss_over_dnc", "structure", "rank", "gap", "start")


def add_commands(subparsers: Any) -> None:
    """Add optima."""
    optima = add_command(
        subparsers, "optima", _optima, "show the best known optimum of K classes and L weights; without both, list all"
    )
    optima.add_argument("num_classes", metavar="K", type=int, nargs="?")
    optima.add_argument("depth", metavar="L", type=int, nargs="?")
    optima.add_argument("--decay", type=float, help="λ̄, the geometric mean of all decays")
    optima.add_argument("--solution", metavar="FILE", help="write the matrices of the optimum as safetensors")
    optima.add_argument("--plot", metavar="FILE", help="write the phase diagram of all optima: .svg, .png or .vl.json")
    add_json(optima, "the catalogue, or its entry,")


def _optima(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        if arguments.plot is not None:
            write(client.phase_diagram(format_of(arguments.plot), decay=arguments.decay), arguments.plot)
            return 0
        if arguments.depth is None:
            found = client.optima(num_classes=arguments.num_classes, decay=arguments.decay)
            rows = ([entry[name] for name in FIELDS] for entry in found)
            print_json(found) if arguments.json else print_table(HEADER, rows)
            return 0
        cell = (arguments.num_classes, arguments.depth, arguments.decay)
        entry = client.optimum(*cell)
        if arguments.solution is not None:
            Path(arguments.solution).write_bytes(client.solution(*cell))
    if arguments.json:
        print_json(entry)
    else:
        print_solution(entry)
        print_references(entry["references"])
    return 0
