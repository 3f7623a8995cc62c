"""Speed and memory of `measure_collapse` against the straightforward implementation, in one process.

Each case is a float32 feature file on disk, in the page cache; `measure` reads it tile by tile, while the
straightforward implementation has the features in memory already.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch import Tensor

from analysis.commands import MeasureCollapse
from collapse_client.format.features import FeatureFile

CASES = ["50000,512,10", "50000,512,100"]
MEBIBYTE = 1 << 20


class Here:
    """Surroundings in this process, over one file."""

    job_id = service_version = "benchmark"
    device = "cpu"

    def __init__(self, path: Path) -> None:
        self.run: str | None = None
        self.step: int | None = None
        self._path = path

    @contextlib.contextmanager
    def open_features(self, features_id: str) -> Iterator[SimpleNamespace]:
        """The file, whatever the id."""
        with FeatureFile.open(self._path, max_inflated_bytes=1 << 40) as file:
            yield SimpleNamespace(layers=file.layers, parts=[file])

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Nobody listens."""


def straightforward(features: Tensor, labels: Tensor, weights: Tensor) -> dict[str, float]:
    """The same metrics as they are usually written: float64, full covariances, `pinv`, all differences."""
    H, W = features.double(), weights.double()
    num_samples, num_classes = len(H), len(W)
    counts = torch.bincount(labels).double()
    M = torch.stack([H[labels == label].mean(dim=0) for label in range(num_classes)])
    centered = M - M.mean(dim=0)
    residuals = H - M[labels]
    within, between = residuals.T @ residuals / num_samples, centered.T @ centered / num_classes
    variances = torch.stack([residuals[labels == c].square().sum() for c in range(num_classes)]) / counts
    first, second = torch.triu_indices(num_classes, num_classes, 1)
    distances = (M[:, None] - M[None]).square().sum(dim=2)[first, second]
    norms = centered.norm(dim=1)
    cosines = ((centered / norms[:, None]) @ (centered / norms[:, None]).T)[first, second]
    identity = torch.eye(num_classes, dtype=torch.float64)
    simplex = (identity - 1 / num_classes) / (num_classes - 1) ** 0.5
    gram, uncentered, duality = centered @ centered.T, M @ M.T, W @ centered.T
    s = torch.linalg.svdvals(M)
    shares = s / s.sum()
    # The first K − 1 directions: where the means have full rank this is NC1, elsewhere it is wrong.
    inverse = torch.linalg.pinv(between, rtol=1e-8, hermitian=True)
    values = {
        "variability_trace_ratio": within.trace() / between.trace(),
        "within_class_variability": (within @ inverse).trace() / num_classes,
        "class_distance_normalized_variance": ((variances[first] + variances[second]) / (2 * distances)).mean(),
        "equinorm": norms.std(correction=0) / norms.mean(),
        "equiangularity": cosines.std(correction=0),
        "maximal_angle": (cosines + 1 / (num_classes - 1)).abs().mean(),
        "simplex_etf_distance": (gram / gram.norm() - simplex).norm(),
        "orthogonal_frame_distance": (uncentered / uncentered.norm() - identity / num_classes**0.5).norm(),
        "mutual_coherence": cosines.abs().max(),
        "nearest_center_accuracy": (torch.cdist(H, M).argmin(dim=1) == labels).double().mean(),
        "self_duality_distance": (W / W.norm() - centered / centered.norm()).norm(),
        "self_duality_structure": (duality / duality.norm() - simplex).norm(),
        "class_mean_rank": (s > 1e-3 * s[0]).sum(),
        "class_mean_stable_rank": s.square().sum() / s[0] ** 2,
        "class_mean_effective_rank": (-(shares * shares.log()).sum()).exp(),
        "class_mean_participation_ratio": s.square().sum() ** 2 / s.pow(4).sum(),
    }
    return {name: float(value) for name, value in values.items()}


def measured(command: MeasureCollapse, here: Here) -> dict[str, float]:
    """The service's metrics, none of which is undefined on these data."""
    return {name: value for name, value in command.run(here).layers[0].metrics.items() if value is not None}


def best_of(repeats: int, compute: Callable[[], dict[str, float]]) -> tuple[dict[str, float], float, float]:
    """Return the result, the shortest time in seconds, and the peak memory over what was held before, in MiB."""
    result, seconds = {}, float("inf")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory("VmRSS")
    for _ in range(repeats):
        started = time.perf_counter()
        result = compute()
        seconds = min(seconds, time.perf_counter() - started)
    return result, seconds, _memory("VmHWM") - before


def _memory(entry: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry)]
    return int(line.split()[1]) / 1024


def compare(case: str, *, repeats: int, folder: Path) -> str:
    """Run one case and return its line of the table."""
    num_samples, dim, num_classes = map(int, case.split(","))
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(num_classes, (num_samples,), generator=generator)
    weights = torch.randn(num_classes, dim, generator=generator)
    features = weights[labels] + torch.randn(num_samples, dim, generator=generator)
    path = folder / "features.safetensors"
    save_file({"labels": labels, "features.last": features, "weights.last": weights}, path)
    command, here = MeasureCollapse(kind="measure_collapse", features="features"), Here(path)
    path.read_bytes()
    ours, our_seconds, our_memory = best_of(repeats, lambda: measured(command, here))
    theirs, their_seconds, their_memory = best_of(repeats, lambda: straightforward(features, labels, weights))
    difference = max(abs(ours[name] - theirs[name]) / max(abs(theirs[name]), 1e-9) for name in theirs)
    ratio = their_seconds / our_seconds
    return (
        f"{case:>18} {our_seconds:10.3f} {their_seconds:16.3f} {ratio:6.1f} × "
        f"{our_memory:10.0f} {their_memory:16.0f} {difference:11.1e}"
    )


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch; a worker process has one")
    parser.add_argument("--repeats", type=int, default=3, help="the best counts")
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="N,D,K")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"measure_collapse and the straightforward implementation, threads: {arguments.threads}")
    print(f"{'N,d,K':>18} {'measure, s':>10} {'straightforward':>16} {'ratio':>8} ", end="")
    print(f"{'extra MiB':>10} {'straightforward':>16} {'difference':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            print(compare(case, repeats=arguments.repeats, folder=Path(folder)), flush=True)


if __name__ == "__main__":
    main()
