"""rhubarbwu/neural-collapse, where its user has it: all its metrics, the way its README takes them.

It is not on the package index, and its versions differ in names, in the order of arguments and in divisors. So what is
needed is looked up under every name that it has had, and called with keywords, of which each version takes its own.

Done as is best for it: batches of 4096 samples (of 512 to 16384 the fastest in most cases, at most a tenth behind),
kernels in tiles of 32 class means, the pseudo-inverse by torch and not by scipy's svds (30 times slower for 1000
classes), the nearest class mean by its own matrix product and not by its index of FAISS, which takes no less on a CPU.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

BATCH, TILE = 4096, 32


class NeuralCollapse:
    """The package in a checkout; calling it measures a layer whose features are in memory."""

    def __init__(self, checkout: Path) -> None:
        sys.path.insert(0, str(checkout.resolve()))
        self._used: list[str] = []
        self._mean, self._variance, self._covariance, self._decisions = (
            self._find("accumulate", *names)
            for names in (
                ("MeanAccumulator",),
                ("VarNormAccumulator", "VarAccumulator"),
                ("CovarAccumulator",),
                ("DecAccumulator",),
            )
        )
        self._pinv = self._find("measure", "covariance_pinv", "variability_pinv", "covariance_ratio")
        self._ratio = self._find("measure", "covariance_ratio", "variability_ratio")
        self._grid = self._find("measure", "interference_grid", "interference")
        self._stats = self._find("kernels", "kernel_stats")
        self._log_kernel = self._find("kernels", "log_kernel")
        names = ("variability_cdnv", "mean_norms", "simplex_etf_error", "self_duality_error", "distance_norms")
        self._named = {name: self._find("measure", name) for name in (*names, "similarities", "clf_ncc_agreement")}
        self.description = f"{_version(checkout)}, with {', '.join(self._used)}; batches of {BATCH}, tiles of {TILE}"

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor | None) -> dict[str, float]:
        """All its metrics; those that are also ours under our names and conventions."""
        sizes = {"n_classes": int(labels.max()) + 1, "d_vectors": features.shape[1]}
        batches = Batches(features, labels)
        averages = self._mean(**sizes)
        for X, Y in batches:
            averages.accumulate(X, Y)
        M, m_G = averages.compute()
        variances, covariance = self._variance(**sizes), self._covariance(**sizes)
        for X, Y in batches:
            variances.accumulate(X, Y, M)
            covariance.accumulate(X, Y, M)
        V, _ = variances.compute()
        values = self._of_means(M, m_G, V=V, V_intra=covariance.compute())
        if weights is not None:
            decisions = self._decisions(**sizes)
            for X, Y in batches:
                decisions.accumulate(X=X, Y=Y, M=M, W=weights)
            values |= self._of_classifier(M, m_G, weights, decisions)
        return {name: float(value) for name, value in values.items()}

    def _of_means(self, M: Tensor, m_G: Tensor, *, V: Tensor, V_intra: Tensor) -> dict[str, Any]:
        common = {"M": M, "m_G": m_G, "V_intra": V_intra}
        # It has Σ_B with the divisor d; with K, as everybody else, since its function takes the kind of quotient.
        divisors = 1.0 if "metric" in inspect.signature(self._ratio).parameters else len(M) / M.shape[1]
        norms = _call(self._named["mean_norms"], **common)
        grid = _call(self._grid, M=(M - m_G) / norms[:, None], m_G=0)
        energy, _ = _call(self._stats, **common, kernel=self._log_kernel, tile_size=TILE)
        spread = _call(self._named["variability_cdnv"], M=M, V=V, V_norms=V, tile_size=TILE, patch_size=TILE)
        return {
            "within_class_variability": _call(self._pinv, **common, metric="pinv", svd=False) * divisors,
            "variability_trace_ratio": _call(self._ratio, **common, metric="quotient") * divisors,
            "class_distance_normalized_variance": spread,
            "equinorm": norms.std(correction=0) / norms.mean(),
            "mutual_coherence": grid.fill_diagonal_(0).abs().max(),
            "simplex_etf_distance": _call(self._named["simplex_etf_error"], **common),
            "hyperspherical_energy": energy,
        }

    def _of_classifier(self, M: Tensor, m_G: Tensor, W: Tensor, decisions: Any) -> dict[str, Any]:
        common = {"M": M, "m_G": m_G, "W": W}
        cosines = _call(self._named["similarities"], **common, cos=True)
        counts = {"accum": decisions, "Ns": getattr(decisions, "ns_samples", None), "hits": decisions.totals}
        return {
            "self_duality_structure": _call(self._named["self_duality_error"], **common),
            "self_duality_cosine": (1 - cosines).mean(),
            "uniform_duality": cosines.var(correction=0),
            "nearest_center_mismatch": 1 - _call(self._named["clf_ncc_agreement"], **counts),
            "(its distance_norms)": _call(self._named["distance_norms"], **common).mean(),
        }

    def _find(self, module: str, *names: str) -> Callable[..., Any]:
        """What the module has under the first of these names that it knows."""
        try:
            found = importlib.import_module(f"neural_collapse.{module}")
        except ModuleNotFoundError as missing:
            raise SystemExit(
                f"--neural-collapse: {missing} (it needs scipy, and the folder is the checkout)"
            ) from missing
        for name in names:
            if hasattr(found, name):
                self._used.append(name)
                function: Callable[..., Any] = getattr(found, name)
                return function
        raise SystemExit(f"{found.__file__} has no {' and no '.join(names)}: this version is not known here")


class Batches:
    """Features and labels, batch by batch, as often as they are gone through."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self._features, self._labels = features, labels

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._features.split(BATCH), self._labels.split(BATCH), strict=True)


def _call(function: Callable[..., Any], **offered: Any) -> Any:
    """Call with those of the arguments that the function takes, in whatever order it has them."""
    taken = inspect.signature(function).parameters
    return function(**{name: value for name, value in offered.items() if name in taken})


def _version(checkout: Path) -> str:
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return found.stdout.strip() or f"the files in {checkout}"
