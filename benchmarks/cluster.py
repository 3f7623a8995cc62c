"""A feature set in many parts, measured by three workers and by one, on the same cluster, in turn.

The cluster is that of `make cluster`: real PostgreSQL, Valkey and S3 server, all on this machine, whose cores bound the
ratio. Each measurement has workers of its own, fresh, with nothing in their caches: time is from the submission to the
report, with all that they fetch from the store. The report of one worker is held against that of three, number by
number, and both against that of one job which measures everything by itself.

With `--spectra features` there is much to compute for each byte; by default there is little, and what counts is how
fast the store gives its files: a worker that takes over other parts in the second round fetches them once more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from collapse_client import Client
from deployment.cluster import running_cluster
from deployment.topology import Cluster

MEBIBYTE = 2**20
ALLOWED = 1e-10
NOT_COMPARED = {"job_id", "created_at", "timings"}
ALONE = "one job"


def main(options: Sequence[str] | None = None) -> None:
    """Print seconds, their ratio, and the largest difference between the reports; fail if that is too large."""
    arguments = _parser().parse_args(options)
    few, many = "1 worker", f"{arguments.workers} workers"
    seconds: dict[str, list[float]] = {few: [], many: []}
    reports: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_cluster(Path(scratch), apis=1, workers=1) as cluster,
        Client(cluster.urls[0], api_key=cluster.api_key, timeout=600) as client,
    ):
        command = {"features": _upload(client, arguments), "spectra": [arguments.spectra]}
        cluster.workers["worker-1"].stop()
        for _ in range(arguments.repeats):
            for name, workers in ((few, 1), (many, arguments.workers)):
                taken, reports[name] = _measure(cluster, client, command, name, workers)
                seconds[name].append(taken)
        _, reports[ALONE] = _measure(cluster, client, command, ALONE, 1, COLLAPSE_SPREAD_BYTES="0")
    ratio = statistics.median(one / three for one, three in zip(seconds[few], seconds[many], strict=True))
    print(f"time of {few} / time of {many}: {ratio:.2f} (the {os.cpu_count()} cores bound it)")
    _compare(reports, few, many, ALONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks cluster", description=__doc__)
    parser.add_argument("--parts", type=int, default=64, help="default %(default)s")
    parser.add_argument("--part-mebibytes", type=int, default=24, help="of one part; default %(default)s")
    parser.add_argument("--dim", type=int, default=1536, help="of the features; default %(default)s")
    parser.add_argument("--classes", type=int, default=20, help="default %(default)s")
    parser.add_argument("--spectra", choices=["class_means", "features"], default="class_means", help="to be reported")
    parser.add_argument("--workers", type=int, default=3, help="against one; default %(default)s")
    parser.add_argument("--repeats", type=int, default=2, help="of each, in turn; default %(default)s")
    return parser


def _upload(client: Client, arguments: argparse.Namespace) -> str:
    generator = np.random.default_rng(0)
    rows = arguments.part_mebibytes * MEBIBYTE // (4 * arguments.dim)
    means = generator.normal(size=(arguments.classes, arguments.dim)).astype(np.float32)
    labels = np.arange(rows) % arguments.classes
    features_id = client.open_parts()["id"]
    started = time.perf_counter()
    for index in range(arguments.parts):
        samples = means[labels] + generator.standard_normal((rows, arguments.dim), dtype=np.float32)
        client.put_part(features_id, index, {"labels": labels, "features.a": samples})
    view = client.complete(features_id)
    megabytes = view["size_bytes"] / 1e6
    print(
        f"{arguments.parts} parts, {megabytes:.0f} MB, {view['num_samples']} samples of {arguments.dim} dimensions, "
        f"uploaded with {megabytes / (time.perf_counter() - started):.0f} MB/s"
    )
    return features_id


def _measure(
    cluster: Cluster, client: Client, command: dict[str, Any], name: str, workers: int, **settings: str
) -> tuple[float, Any]:
    with _fresh_workers(cluster, workers, **settings):
        started = time.perf_counter()
        job = client.wait(client.submit("measure_collapse", **command), timeout_seconds=3600)
        taken = time.perf_counter() - started
    print(f"  {name:<10}{taken:7.1f} s", flush=True)
    return taken, client.report(job)


@contextmanager
def _fresh_workers(cluster: Cluster, number: int, **settings: str) -> Iterator[None]:
    before = set(cluster.workers)
    workers = [cluster.start_worker(**settings) for _ in range(number)]
    try:
        cluster.wait_until_ready()
        yield
    finally:
        for worker in workers:
            worker.stop()
        for name in set(cluster.workers) - before:
            shutil.rmtree(cluster.folder / name, ignore_errors=True)


def _compare(reports: dict[str, Any], *names: str) -> None:
    worst = 0.0
    for one, other in itertools.combinations(names, 2):
        difference, where = max(_differences(reports[one], reports[other], ""))
        print(f"largest relative difference of {one} and {other}: {difference:.1e} ({where})")
        worst = max(worst, difference)
    if worst > ALLOWED:
        sys.exit(f"The reports differ by more than {ALLOWED}.")


def _differences(one: Any, other: Any, where: str) -> Iterator[tuple[float, str]]:
    """Of all numbers of two reports, relative to the larger one; infinite where they have not the same shape."""
    yield 0.0, where
    if isinstance(one, dict) and isinstance(other, dict):
        for key in (one.keys() | other.keys()) - NOT_COMPARED:
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{where}[{index}]")
    elif isinstance(one, float) and isinstance(other, float):
        yield abs(one - other) / max(abs(one), abs(other), sys.float_info.min), where
    elif one != other:
        yield float("inf"), where


if __name__ == "__main__":
    main()
