"""`collapse gate`: conditions on a run, for CI and for stopping a silent collapse."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from collapse_client.cli.printing import print_json
from collapse_client.cli.service import add_command, add_json, connect, wait
from collapse_client.cli.told import told
from collapse_client.errors import CollapseError, JobFailed
from collapse_client.gate.aliases import ALIASES
from collapse_client.progress import printable

if TYPE_CHECKING:
    from collapse_client.client import Client
    from collapse_client.gate import Verdict

HOLDS, FAILS, CANNOT_TELL = 0, 1, 2
HELP = """A condition compares a metric of a layer with a number, or with another measurement:

  rank(head.2) >= 9                             by the layer's name
  nc1("odd name, with a comma") < 0.1           quotes, for names with commas, spaces at an end, or such words
  nc1(last) < 0.1     rank(first) == 10         the last and the first layer
  nc2(all) < 0.2      nc1(any) < 0.1            every layer that has the metric, at least one
  rank(#2) >= 9       rank(#-1) >= 9            by index, from 0; #-1 is the last
  rank(last) >= 0.9 * rank(last, first_step)    against the first step of the run, or its previous_step
  rank(last) <= rank(first)                     against another layer

Comparisons: < <= > >= == !=. Metrics: any of `GET /v1/catalogue`, or a short name:
{aliases}

Exit codes: 0 all conditions hold; 1 one does not, which is told with value, layer, step and job;
2 it cannot be told: no such run, layer or metric, an undefined value (with the report's reason), no service.

  collapse gate my-training 'rank(last) >= 9' --wait           # in CI, once the training has ended
  collapse gate my-training 'nc1(last) < 0.1' || kill $PID     # 1 and 2 alike
  collapse gate my-training 'rank(last) >= 9' || [ $? -ne 1 ] || kill $PID    # on a clear no alone
"""


def add_commands(subparsers: Any) -> None:
    """Add gate."""
    aliases = "\n".join(f"  {name:<15} {metric}" for name, metric in ALIASES.items())
    text = "hold a run to conditions: exits 0 if all hold, 1 if one does not, 2 if it cannot be told"
    gate = add_command(subparsers, "gate", _gate, text, HELP.format(aliases=aliases))
    gate.add_argument("run", metavar="RUN")
    gate.add_argument("conditions", metavar="CONDITION", nargs="+", help="such as 'rank(head.2) >= 9', in quotes")
    when = gate.add_mutually_exclusive_group()
    when.add_argument("--step", type=int, metavar="N", help="at this step (default: at the latest that has ended)")
    when.add_argument("--every", action="store_const", const=0, dest="since", help="at every step of the run")
    when.add_argument("--since", type=int, metavar="N", help="at every step from this one on")
    gate.add_argument("--wait", action="store_true", help="first wait for the jobs of the run that have not ended")
    add_json(gate, "the verdicts")


def _gate(arguments: argparse.Namespace) -> int:
    try:
        verdicts = _judge(arguments)
        _print(verdicts, as_json=arguments.json)
    except Exception as error:
        # Whatever goes wrong must not pass for a no, on which a training is stopped.
        if isinstance(error, (CollapseError, OSError)):
            print(told(error, arguments.parser), file=sys.stderr)
        else:
            traceback.print_exc()
        return CANNOT_TELL
    outcomes = [verdict.holds for verdict in verdicts]
    return FAILS if False in outcomes else CANNOT_TELL if None in outcomes else HOLDS


def _judge(arguments: argparse.Namespace) -> list[Verdict]:
    from collapse_client.gate import check

    with connect(arguments) as client:
        if arguments.wait:
            _wait_for_run(client, arguments.run)
        return check(client, arguments.run, arguments.conditions, step=arguments.step, since=arguments.since)


def _print(verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    if as_json:
        print_json([verdict.as_json() for verdict in verdicts])
    for verdict in verdicts:
        if verdict.holds is not True:
            print(f"collapse: {printable(str(verdict))}", file=sys.stderr)
        elif not as_json:
            print(printable(str(verdict)))
    sys.stdout.flush()


def _wait_for_run(client: Client, run: str) -> None:
    """Wait for what is under way now; what becomes of it is seen in the steps of the run."""
    for job in [job for status in ("running", "queued") for job in client.jobs(run=run, status=status, limit=200)]:
        try:
            wait(client, job["id"])
        except JobFailed:
            continue
