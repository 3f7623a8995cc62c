"""Speed of the DUFM: training the runs of the paper's fig2-top side by side, and the search for optima.

Training: K = 10, L = 4, width 30, all decays 0.004, learning rate 0.5, 10 runs. Ours is what `train_dufm` does, in
float64, with everything that it records and checks; against it stands one run at a time with torch.optim.SGD and
autograd, as people write it, in float32 and recording nothing. Times are per step of all runs,
medians of repeats in turn. The bound is the products' multiply-adds at the rate of torch's own product of 1024 × 1024
matrices, measured in the same process: it leaves out the ReLU, and that matrices of 30 × 30 do not reach that rate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from threadpoolctl import threadpool_limits

from analysis.commands import TrainDufm
from analysis.dufm.descent import Descent
from analysis.dufm.ensemble import Ensemble
from analysis.dufm.initial import initial_variables
from analysis.dufm.problem import Problem
from analysis.dufm.recording import Recording
from benchmarks import dufm_search
from benchmarks.disturbance import Disturbance

RATE_SIZE, RATE_REPEATS = 1024, 20


def main(options: Sequence[str] | None = None) -> None:
    """Train, against one run at a time, for each number of samples per class; then search."""
    arguments = _parser().parse_args(options)
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(limits=arguments.threads):
        print(f"threads: {arguments.threads} for everybody; repeats: {arguments.repeats}, in turn, the median counts")
        print("samples  ours µs/step  autograd µs/step  ratio  bound µs/step  share  runs·steps/s  others")
        for samples in arguments.samples:
            _train(samples, arguments)
    if not arguments.skip_search:
        torch.set_num_threads(1)
        with threadpool_limits(limits=1):
            dufm_search.compare()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks dufm", description=__doc__)
    threads = 2 if (os.cpu_count() or 1) > 1 else 1
    parser.add_argument("--threads", type=int, default=threads, help="of every contender; default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default %(default)s")
    parser.add_argument("--steps", type=int, default=5_000, help="of ours, in each repeat; default %(default)s")
    samples = "samples per class; 2 is what fig2-top is reproduced with; default 1 2 5"
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 2, 5], metavar="N", help=samples)
    parser.add_argument("--skip-search", action="store_true", help="leave out the search for optima")
    return parser


def _train(samples: int, arguments: argparse.Namespace) -> None:
    command = TrainDufm(kind="train_dufm", samples_per_class=samples, runs=10, stop_when=None)
    few = max(1, arguments.steps // 10)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: _ours(command, arguments.steps),
        "autograd": lambda: command.runs * _one_with_autograd(command, few),
        "rate": _multiply_adds_per_second,
    }
    for warm_up in contenders.values():
        warm_up()
    with Disturbance() as others:
        measured = [{name: measure() for name, measure in contenders.items()} for _ in range(arguments.repeats)]
    ours, autograd, rate = (statistics.median(times[name] for times in measured) for name in contenders)
    bound = command.runs * multiply_adds(command.model) / rate
    print(
        f"{samples:7}  {1e6 * ours:12.1f}  {1e6 * autograd:16.1f}  {autograd / ours:5.1f}  {1e6 * bound:13.1f}  "
        f"{bound / ours:5.2f}  {command.runs / ours:12.0f}  {others.cores:6.1f}",
        flush=True,
    )


def _ours(command: TrainDufm, steps: int) -> float:
    """Seconds per step of all runs, with records as often as in the paper's 100 000 steps."""
    seeds = range(command.runs)
    variables = initial_variables(command.model, seeds, scale=command.init_scale)
    descent = Descent(command.model, variables, optimizer="gd", learning_rate=command.learning_rate)
    recording = Recording(command.model, seeds=seeds, steps=steps, interval=command.recording_interval)
    ensemble = Ensemble(command.model, descent, recording, gradient_norm=1e-7)
    started = time.perf_counter()
    ensemble.train(steps, lambda step: None)
    return (time.perf_counter() - started) / steps


def _one_with_autograd(command: TrainDufm, steps: int) -> float:
    """Seconds per step of one run, as it is usually written; the decay, one for all, is the optimiser's own."""
    problem = command.model
    initial = initial_variables(problem, [0], scale=command.init_scale)
    features, *weights = (torch.nn.Parameter(tensor[0].float()) for tensor in initial.tensors)
    targets = torch.eye(problem.num_classes).repeat_interleave(problem.samples_per_class, dim=1)
    optimizer = torch.optim.SGD([features, *weights], lr=command.learning_rate, weight_decay=problem.feature_decay)
    started = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        hidden = weights[0] @ features
        for weight in weights[1:]:
            hidden = weight @ hidden.relu()
        loss = (hidden - targets).square().sum() / (2 * problem.num_samples)
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - started) / steps


def multiply_adds(problem: Problem) -> int:
    """Of one step of one run: each matrix is in three products, forward, back, and for its own gradient."""
    return 3 * problem.num_samples * sum(rows * columns for rows, columns in problem.weight_shapes)


def _multiply_adds_per_second() -> float:
    left, right, result = (torch.randn(RATE_SIZE, RATE_SIZE, dtype=torch.float64) for _ in range(3))
    best = float("inf")
    for _ in range(RATE_REPEATS):
        started = time.perf_counter()
        torch.mm(left, right, out=result)
        best = min(best, time.perf_counter() - started)
    return RATE_SIZE**3 / best
