"""Commands about jobs: `collapse jobs`, `collapse watch`, `collapse cancel`."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING, Any

from collapse_client.cli.printing import moment, print_json, print_table
from collapse_client.cli.service import add_command, add_json, connect, wait
from collapse_client.progress import duration

if TYPE_CHECKING:
    from collapse_client.views import JobView

FILTERS = ("status", "kind", "run", "tag")
LARGEST_PAGE = 200
EXIT_CODES = """Exit codes: 0 it succeeded, 3 it failed, 4 it was cancelled, 1 there is no such job or no service, 130
interrupted.
Ctrl-C ends the watching and leaves the job running."""


def add_commands(subparsers: Any) -> None:
    """Add jobs, watch and cancel."""
    jobs = add_command(subparsers, "jobs", _jobs, "list jobs, newest first")
    jobs.add_argument("--status", help="queued, running, succeeded, failed or cancelled")
    jobs.add_argument("--kind", help="such as measure_collapse or train_dufm")
    jobs.add_argument("--run", help="name of a training")
    jobs.add_argument("--tag", help="a word that the job was given")
    add_limit(jobs)
    add_json(jobs, "the jobs")
    watch = add_command(subparsers, "watch", _watch, "follow a job to its end, with a bar on a terminal", EXIT_CODES)
    watch.add_argument("job", metavar="ID")
    add_json(watch, "the job at its end")
    cancel = add_command(subparsers, "cancel", _cancel, "ask a job and its children to stop")
    cancel.add_argument("job", metavar="ID")
    add_json(cancel, "the job")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add --limit to a listing."""
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many (default: %(default)s)")


def page_size(limit: int) -> int:
    """Return how many to ask the service for at once."""
    return min(limit, LARGEST_PAGE)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines: give one from 1")
    return int(text)


def _jobs(arguments: argparse.Namespace) -> int:
    filters = {name: getattr(arguments, name) for name in FILTERS}
    with connect(arguments) as client:
        jobs = list(islice(client.jobs(**filters, limit=page_size(arguments.limit)), arguments.limit))
    if arguments.json:
        print_json(jobs)
    else:
        header = ("id", "kind", "status", "done", "run", "step", "tags", "created (UTC)")
        print_table(header, map(_row, jobs))
    return 0


def _row(job: JobView) -> tuple[object, ...]:
    done = f"{job['progress']['fraction']:.0%}"
    placed = (job["run"], job["step"], job["tags"] or None)
    return (job["id"], job["kind"], job["status"], done, *placed, moment(job["created_at"]))


def _watch(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        job = wait(client, arguments.job)
    if arguments.json:
        print_json(job)
    else:
        print(f"{job['id']} succeeded{_took(job)}")
    return 0


def _took(job: JobView) -> str:
    from collapse_client.exports.steps import seconds

    started, finished = job["started_at"], job["finished_at"]
    return f" in {duration(seconds(finished) - seconds(started))}" if started and finished else ""


def _cancel(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        job = client.cancel(arguments.job)
    if arguments.json:
        print_json(job)
    elif job["status"] == "cancelled":
        print(f"{job['id']} is cancelled")
    else:
        print(f"{job['id']} is {job['status']} and will stop within seconds")
    return 0
