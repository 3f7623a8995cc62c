"""The front page with 10 jobs and with 10 000: how long its shell and its first lists take to come from a service."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.uploads import running_service
from jobs.settings import Settings
from jobs.store import Database, JobStore, NewJob

FEW, MANY = 10, 10_000
JOBS_OF_A_RUN = 20
REPEATS = 30
ALLOWED_MILLISECONDS = 100
FIRST_CONTENT = {"page": "/", "its jobs": "/v1/jobs", "its runs": "/v1/runs?limit=10"}
"""What the browser asks for until there is something to read."""
SEARCHES = {"jobs of a tag": "/v1/jobs?tag=even", "search": "/v1/jobs?query=run%207"}


def main(options: Sequence[str] | None = None) -> None:
    """Print milliseconds with few and with many jobs, their difference and their ratio."""
    argparse.ArgumentParser(prog="python -m benchmarks pages", description=__doc__).parse_args(options)
    with tempfile.TemporaryDirectory() as scratch, running_service(Path(scratch)) as (url, _):
        database = Database(Settings(data_dir=Path(scratch) / "service").database)
        with httpx.Client(base_url=url, timeout=60) as client:
            add_jobs(JobStore(database), range(FEW))
            few = measure(client)
            add_jobs(JobStore(database), range(FEW, MANY))
            many = measure(client)
        database.close()
    print(f"milliseconds, median of {REPEATS}{f'{FEW} jobs':>13}{f'{MANY} jobs':>13}{'difference':>13}{'ratio':>8}")
    rows = [*FIRST_CONTENT, "first content", *SEARCHES]
    for name in rows:
        before, after = few[name], many[name]
        print(f"  {name:<26}{before:11.1f}{after:13.1f}{after - before:+13.1f}{after / before:8.1f}")
    more = many["first content"] - few["first content"]
    verdict = "within" if more < ALLOWED_MILLISECONDS else "MORE THAN"
    print(f"  first content with {MANY} jobs: {more:+.1f} ms, {verdict} the {ALLOWED_MILLISECONDS} ms allowed")


def add_jobs(store: JobStore, numbers: range) -> None:
    """Jobs of runs, straight into the database of the running service; ended, so that no worker takes them."""
    for number in numbers:
        run, step = divmod(number, JOBS_OF_A_RUN)
        parameters = {"kind": "train_dufm", "num_classes": 10, "depth": 4}
        tags = ("even",) if number % 2 == 0 else ()
        job, _ = store.create(NewJob(kind="train_dufm", parameters=parameters, run=f"run {run}", step=step, tags=tags))
        store.request_cancel(job.id)


def measure(client: httpx.Client) -> dict[str, float]:
    """Median milliseconds of each address, and of those together that are asked for first."""
    medians = {name: _median(client, path) for name, path in (FIRST_CONTENT | SEARCHES).items()}
    medians["first content"] = sum(medians[name] for name in FIRST_CONTENT)
    return medians


def _median(client: httpx.Client, path: str) -> float:
    client.get(path).raise_for_status()
    return statistics.median(_milliseconds(client, path) for _ in range(REPEATS))


def _milliseconds(client: httpx.Client, path: str) -> float:
    started = time.perf_counter()
    client.get(path).raise_for_status()
    return 1000 * (time.perf_counter() - started)
