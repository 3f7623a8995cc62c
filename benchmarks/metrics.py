"""Speed, memory and accuracy of `measure_collapse`, in one process and with one number of threads for everybody.

Against it stand (a) the straightforward implementation, (b) rhubarbwu/neural-collapse, where you have a checkout of it,
and the time that reading and multiplying take at least on this machine. Each case is a float32 feature file on disk, in
the page cache; `measure_collapse` reads it, while (a) and (b) have the features in memory already.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks import gpu
from benchmarks.bound import Bound, find_bound
from benchmarks.cases import Case, make_data
from benchmarks.disturbance import Disturbance
from benchmarks.memory import PeakMemory
from benchmarks.neural_collapse import NeuralCollapse
from benchmarks.ours import Here, measure_file, metric_names
from benchmarks.straightforward import straightforward

__all__ = ["Here", "main"]

CASES = ["50000,512,10", "50000,512,100", "50000,2048,1000", "1000000,64,10", "8x50000,256,10"]
WARM_UP = Case(1000, 32, 5)
"""Measured once by everybody before anything counts: what is loaded and set up once belongs to nobody's time."""
FLAT = Case(50_000, 512, 10)
"""Whose number of samples is taken four times, to see that memory does not follow it."""
OURS, USUAL, THEIRS = "measure_collapse", "(a) straightforward", "(b) neural-collapse"

NOTES = f"""\
×: time over ours. MiB: peak over what was held before. share: bound over our time; share*: the bound with the scores of
the class means alone. differs: largest relative difference, under (a) of {OURS} to (a), under (b) of (b), which
computes in float32, to (a). others: cores that other processes kept busy meanwhile; where it is not 0.0 the times are
no good. What was counted, and which metrics differ most:"""

Layers = list[dict[str, float]]
"""Values of the metrics, layer by layer."""
Contenders = dict[str, Callable[[], Layers]]


@dataclass(frozen=True)
class Outcome:
    """What came out, in the shortest time; memory at the highest peak."""

    layers: Layers
    seconds: float
    extra_mib: float


@dataclass(frozen=True)
class Row:
    """One case: the outcomes by contender, and the bound."""

    case: Case
    outcomes: dict[str, Outcome]
    bound: Bound
    others: float
    """cores that other processes kept busy meanwhile"""


def main(options: Sequence[str] | None = None) -> None:
    """Run every case, and print the table, what was counted, and the checks beside it."""
    arguments = _parser().parse_args(options)
    torch.set_num_threads(arguments.threads)
    theirs = NeuralCollapse(arguments.neural_collapse) if arguments.neural_collapse else None
    # BLAS of numpy and scipy too, which are loaded by now.
    with threadpool_limits(limits=arguments.threads), tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        _introduce(arguments, theirs)
        path = Path(folder) / "features.safetensors"
        compete(_contenders(WARM_UP, arguments, theirs, path)[0], repeats=1)
        _print_header()
        rows = []
        for case in arguments.cases:
            rows.append(_run(case, arguments, theirs, path))
            _print_row(rows[-1])
        _print_notes(rows)
        _print_flatness(arguments.flat, path)
        gpu.run(arguments.cases, repeats=arguments.repeats, folder=path.parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics", description=__doc__)
    threads = 2 if (os.cpu_count() or 1) > 1 else 1
    parser.add_argument("--threads", type=int, default=threads, help="of every contender; default %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="in turn; the shortest time counts; default %(default)s")
    cases = "N,d,K, or 8xN,d,K for 8 layers in one file; default " + " ".join(CASES)
    parser.add_argument("--cases", type=_case, nargs="+", default=list(map(_case, CASES)), metavar="CASE", help=cases)
    parser.add_argument("--neural-collapse", type=Path, metavar="DIR", help="a checkout of rhubarbwu/neural-collapse")
    parser.add_argument("--skip-straightforward", action="store_true", help="leave out (a), and the differences to it")
    parser.add_argument("--flat", type=_case, default=FLAT, metavar="N,d,K", help="for the memory at N and at 4N")
    parser.add_argument("--folder", type=Path, help="for the feature files (the largest has 410 MB, on a GPU 10 GB)")
    return parser


def _case(text: str) -> Case:
    try:
        return Case.parse(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _introduce(arguments: argparse.Namespace, theirs: NeuralCollapse | None) -> None:
    print(f"threads: {arguments.threads} for everybody; repeats: {arguments.repeats}, in turn, the shortest counts")
    print(f"{OURS}: {len(metric_names())} metrics, from the file; the others have the features in memory")
    print(f"{USUAL}: {'left out' if arguments.skip_straightforward else 'float64, d × d covariances, pinv'}")
    description = theirs.description if theirs else "not here; give a checkout with --neural-collapse DIR"
    print(textwrap.fill(f"{THEIRS}: {description}", width=120, subsequent_indent="    "))


def _run(case: Case, arguments: argparse.Namespace, theirs: NeuralCollapse | None, path: Path) -> Row:
    contenders, size = _contenders(case, arguments, theirs, path)
    # Before and after, for the machine may be busy at one of the two moments.
    before = find_bound(case, file_bytes=size)
    with Disturbance() as others:
        outcomes = compete(contenders, repeats=arguments.repeats)
    return Row(case, outcomes, before.or_faster(find_bound(case, file_bytes=size)), others.cores)


def _contenders(
    case: Case, arguments: argparse.Namespace, theirs: NeuralCollapse | None, path: Path
) -> tuple[Contenders, int]:
    """Who takes part, with the data of this case; and the size of the file that was written for us."""
    data = make_data(case)
    contenders: Contenders = {OURS: lambda: measure_file(path)}
    if not arguments.skip_straightforward:
        contenders[USUAL] = lambda: [straightforward(*layer) for layer in data.layers()]
    if theirs:
        contenders[THEIRS] = lambda: [theirs(*layer) for layer in data.layers()]
    return contenders, data.write(path)


def compete(contenders: Contenders, *, repeats: int) -> dict[str, Outcome]:
    """Let all run in turn, so that a slow moment of the machine does not hit one alone."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, compute in contenders.items():
            outcomes[name].append(_run_once(compute))
    return {
        name: Outcome(some[0].layers, min(one.seconds for one in some), max(one.extra_mib for one in some))
        for name, some in outcomes.items()
    }


def _run_once(compute: Callable[[], Layers]) -> Outcome:
    with PeakMemory() as memory:
        started = time.perf_counter()
        layers = compute()
        seconds = time.perf_counter() - started
    return Outcome(layers, seconds, memory.extra_mib)


def largest_difference(some: Outcome, others: Outcome) -> tuple[float, str]:
    """The largest relative difference of metrics that both have, and the metric."""
    differences = [
        (abs(mine[name] - value) / max(abs(value), 1e-9), name)
        for mine, theirs in zip(some.layers, others.layers, strict=True)
        for name, value in theirs.items()
        if name in mine
    ]
    return max(differences, default=(float("nan"), "none"))


def _print_header() -> None:
    print()
    print(f"{'':>18} | {OURS:^17} | {USUAL:^29} | {THEIRS:^29} | {'bound':^19}")
    one = f"{'s':>9} {'×':>6} {'MiB':>6}"
    print(f"{'N,d,K':>18} | {'s':>9} {'MiB':>7} | {one} {'differs':>5} ", end="")
    print(f"| {one} {'differs':>5} | {'s':>7} {'share':>5} {'share*':>5} | others", flush=True)


def _print_row(row: Row) -> None:
    ours, usual = row.outcomes[OURS], row.outcomes.get(USUAL)
    line = f"{row.case!s:>18} | {ours.seconds:9.3f} {ours.extra_mib:7.0f} "
    line += _alternative(usual, ours, largest_difference(ours, usual)[0] if usual else None)
    theirs = row.outcomes.get(THEIRS)
    line += _alternative(theirs, ours, largest_difference(theirs, usual)[0] if theirs and usual else None)
    bound = row.bound
    shares = f"{bound.seconds / ours.seconds:5.0%} {bound.seconds_without_classifier / ours.seconds:6.0%}"
    print(f"{line}| {bound.seconds:7.3f} {shares} | {row.others:6.1f}", flush=True)


def _alternative(outcome: Outcome | None, ours: Outcome, difference: float | None) -> str:
    if outcome is None:
        return f"| {'–':^29} "
    difference_text = "–" if difference is None else f"{difference:.0e}"
    ratio = outcome.seconds / ours.seconds
    return f"| {outcome.seconds:9.3f} {ratio:5.1f}× {outcome.extra_mib:6.0f} {difference_text:>5} "


def _print_notes(rows: list[Row]) -> None:
    print()
    print(NOTES)
    for row in rows:
        print(f"{row.case!s:>18}  {row.bound}")
        for note in _comparisons(row):
            print(f"{'':>18}  {note}")


def _comparisons(row: Row) -> list[str]:
    usual = row.outcomes.get(USUAL)
    if usual is None:
        return []
    notes = []
    for name in (OURS, THEIRS):
        if name in row.outcomes:
            outcome = row.outcomes[name]
            compared = {metric for layer in outcome.layers for metric in layer} & set(usual.layers[-1])
            difference, metric = largest_difference(outcome, usual)
            notes.append(f"{name}: {len(compared)} metrics compared with (a); most: {metric}, {difference:.1e}")
    alone = {metric for layer in row.outcomes[OURS].layers for metric in layer} - set(usual.layers[-1])
    return [*notes, f"ours alone: {', '.join(sorted(alone))}"] if alone else notes


def _print_flatness(case: Case, path: Path) -> None:
    """Extra memory at N and at 4N, in one line."""
    extra = {}
    for num_samples in (case.num_samples, 4 * case.num_samples):
        make_data(Case(num_samples, case.dim, case.num_classes)).write(path)
        extra[num_samples] = _run_once(lambda: measure_file(path)).extra_mib
    found = ", ".join(f"{mib:.0f} MiB at N = {num_samples}" for num_samples, mib in extra.items())
    print(f"flat in N: with d = {case.dim}, K = {case.num_classes} {OURS} takes {found}")


if __name__ == "__main__":
    main()
