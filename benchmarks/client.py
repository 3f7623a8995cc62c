"""What the Recorder costs a training loop, and how fast it uploads, against the same loop without it and against curl.

The loop: a head of 5 linear layers of width 512 with ReLUs and a classifier of 10 classes, cross-entropy, SGD with
momentum, float32, samples in memory. All 5 ReLUs are recorded, every batch of every epoch, labels after the pass. An
epoch's time includes everything that the loop calls: hooks, labels, the end of the step. It is sent to a running
service, whose worker is stopped meanwhile: it would compute on other cores. Epochs with and without are run in turn; a
ratio is one epoch's time over that of the epoch without recording in the same turn, and the median counts: of wall
time, and of the CPU time of the whole process, its threads that write and send included, which other load disturbs
less.

Uploads: one file by the client and by curl, and as many samples that a Recorder has written, in parts of 32 MiB that
are
sent, completed and submitted as its background thread does it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.disturbance import Disturbance
from benchmarks.uploads import running_service
from collapse_client import Client, Recorder, write_features
from collapse_client.recording import push
from collapse_client.recording.errors import RecordingWarning

DEPTH, WIDTH, CLASSES = 5, 512, 10
LAYERS = [str(2 * index + 1) for index in range(DEPTH)]
MODES: dict[str, dict[str, Any]] = {
    "features": {"mode": "features"},
    "moments": {"mode": "moments"},
    "moments, matrix": {"mode": "moments", "second_moments": "matrix"},
}
IN_A_ROW = 3
MEBIBYTE = 2**20
NOBODY = "http://127.0.0.1:9"


def main(options: Sequence[str] | None = None) -> None:
    """Print what recording costs, by batch size and mode, and the speed of uploads."""
    arguments = _parser().parse_args(options)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder)) as (url, _):
        scratch = Path(folder)
        with _workers_stopped(scratch / "service.log"):
            print(f"threads: {arguments.threads}; epochs: {arguments.epochs} of {arguments.samples} samples, in turn")
            print("batch  recorded          ms/batch without  wall ratio  CPU ratio  MB sent  others")
            for batch_size in arguments.batch_sizes:
                _overhead(url, scratch, batch_size, arguments)
            _uploads(url, scratch, arguments.repeats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks client", description=__doc__)
    threads = 2 if (os.cpu_count() or 1) > 1 else 1
    parser.add_argument("--threads", type=int, default=threads, help="of torch; default %(default)s")
    parser.add_argument("--epochs", type=int, default=15, help="of each contender; default %(default)s")
    parser.add_argument("--samples", type=int, default=16384, help="of an epoch; default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="of uploads; default %(default)s")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512], metavar="N", help="default 128 512")
    return parser


@contextlib.contextmanager
def _workers_stopped(log: Path) -> Iterator[None]:
    """Stop the service's workers, which lead process groups, and let them go on afterwards."""
    groups = [int(pid) for pid in re.findall(r'"child": "worker[^"]*", "pid": (\d+)', log.read_text())]
    for group in groups:
        os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        for group in groups:
            os.killpg(group, signal.SIGCONT)


class Training:
    """A head with its optimizer, recorded or not."""

    def __init__(self, samples: torch.Tensor, labels: torch.Tensor, batch_size: int) -> None:
        torch.manual_seed(0)
        layers = [layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        self.model = nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))
        self.recorder: Recorder | None = None
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self._batches = list(zip(samples.split(batch_size), labels.split(batch_size), strict=True))

    def epoch(self, epoch: int) -> tuple[float, float]:
        """Wall and CPU seconds of an epoch."""
        started, cpu = time.perf_counter(), time.process_time()
        with self.recorder.step(epoch) if self.recorder else contextlib.nullcontext():
            for batch, labels in self._batches:
                loss = nn.functional.cross_entropy(self.model(batch), labels)
                if self.recorder:
                    self.recorder.labels(labels)
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        return time.perf_counter() - started, time.process_time() - cpu


def _overhead(url: str, scratch: Path, batch_size: int, arguments: argparse.Namespace) -> None:
    samples, labels = torch.randn(arguments.samples, WIDTH), torch.randint(CLASSES, (arguments.samples,))
    contenders = {name: Training(samples, labels, batch_size) for name in ("nothing", *MODES)}
    for name, options in MODES.items():
        model, spool = contenders[name].model, scratch / "spool"
        contenders[name].recorder = Recorder(model, LAYERS, run=f"{batch_size} {name}", url=url, spool=spool, **options)
    with Disturbance() as others:
        turns = [
            {name: _epochs(training, first=turn * IN_A_ROW) for name, training in contenders.items()}
            for turn in range(arguments.epochs // IN_A_ROW + 1)
        ][1:]  # the first warms up
        sent = {name: _sent_megabytes(training, url) for name, training in contenders.items()}
    without = statistics.median(turn["nothing"][0] for turn in turns) * 1e3 * batch_size / arguments.samples
    for name in contenders:
        wall, cpu = (statistics.median(turn[name][kind] / turn["nothing"][kind] for turn in turns) for kind in (0, 1))
        print(
            f"{batch_size:5}  {name:<16}  {without:16.2f}  {wall:10.3f}  {cpu:9.3f}  {sent[name]:7.1f}"
            f"  {others.cores:6.1f}",
            flush=True,
        )


def _epochs(training: Training, *, first: int) -> tuple[float, float]:
    """Wall and CPU seconds of an epoch, the mean of several.

    In a row, and waited for at the end: what one contender still sends is its own cost, and nobody else's.
    """
    taken = [training.epoch(first + index) for index in range(IN_A_ROW)]
    if training.recorder:
        assert training.recorder.flush(600), "the steps were not sent"
    return statistics.fmean(wall for wall, _ in taken), statistics.fmean(cpu for _, cpu in taken)


def _sent_megabytes(training: Training, url: str) -> float:
    if training.recorder is None:
        return 0.0
    assert training.recorder.flush(600), "the steps were not sent"
    training.recorder.close()
    assert not training.recorder.dropped, "steps were left out"
    with Client(url) as client:
        jobs = [client.job(job_id) for job_id in training.recorder.jobs.values()]
        return sum(client.features(job["parameters"]["features"])["size_bytes"] for job in jobs) / 1e6


def _uploads(url: str, scratch: Path, repeats: int) -> None:
    ways: dict[str, Callable[[str, Path], float]] = {"client": _with_client, "recorded parts": _with_push}
    if shutil.which("curl"):
        ways = {"curl": _with_curl, **ways}
    speeds = [{name: upload(url, scratch) for name, upload in ways.items()} for _ in range(repeats)]
    print(f"uploads over loopback, {repeats} in turn: the median of MB/s, and of the ratios to curl in the same turn")
    for name in ways:
        ratio = statistics.median(turn[name] / turn["curl"] for turn in speeds) if "curl" in ways else float("nan")
        print(f"  {name:<16}{statistics.median(turn[name] for turn in speeds):8.0f} MB/s{ratio:8.2f}")


def _features() -> np.ndarray:
    # Other values each time: the same bytes again would be a duplicate.
    return np.random.default_rng().random((128 * MEBIBYTE // (4 * WIDTH), WIDTH), dtype=np.float32)


def _written(scratch: Path) -> Path:
    path, features = scratch / "features.safetensors", _features()
    write_features(path, labels=np.arange(len(features)) % CLASSES, features={"a": features})
    return path


def _with_client(url: str, scratch: Path) -> float:
    path = _written(scratch)
    with Client(url) as client:
        started = time.perf_counter()
        client.upload(path)
    return path.stat().st_size / 1e6 / (time.perf_counter() - started)


def _with_curl(url: str, scratch: Path) -> float:
    path = _written(scratch)
    started = time.perf_counter()
    subprocess.run(["curl", "-sf", "-X", "POST", "-T", path, "-o", "/dev/null", f"{url}/v1/features"], check=True)
    return path.stat().st_size / 1e6 / (time.perf_counter() - started)


def _with_push(url: str, scratch: Path) -> float:
    features, spool = torch.from_numpy(_features()), scratch / "pushed"
    labels = torch.arange(len(features)) % CLASSES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)  # that nobody answers is what is wanted
        with Recorder(
            nn.Sequential(nn.Identity()), ["0"], run="upload", url=NOBODY, spool=spool, close_timeout=0.0
        ) as recorder:
            recorder.record(zip(features.split(512), labels.split(512), strict=True), step=0)
    with Client(url) as client:
        started = time.perf_counter()
        [_] = push(client, spool).sent
    return features.nbytes / 1e6 / (time.perf_counter() - started)
