"""Deep unconstrained features models for tests, and their loss as the paper has it, computed by nothing of ours."""

import math

import torch

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem


def model(num_classes=3, depth=3, width=5, samples_per_class=1, decay=0.01, **others):
    widths = width if isinstance(width, tuple) else (width,) * depth
    decays = decay if isinstance(decay, tuple) else (decay,) * depth
    feature_decay = others.pop("feature_decay", decays[0])
    return Problem(
        num_classes=num_classes,
        widths=widths,
        weight_decays=decays,
        feature_decay=feature_decay,
        samples_per_class=samples_per_class,
        **others,
    )


def random_variables(problem, runs=1, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(problem.widths[0], problem.num_samples), *problem.weight_shapes]
    features, *weights = (
        scale * torch.randn(runs, *shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    return Variables(features, tuple(weights))


def naive_loss(problem, features, weights):
    """Of one run, sample by sample, for autograd."""
    total = problem.feature_decay / 2 * (features**2).sum()
    for decay, weight in zip(problem.weight_decays, weights, strict=True):
        total = total + decay / 2 * (weight**2).sum()
    for sample in range(problem.num_samples):
        label = sample // problem.samples_per_class
        hidden = weights[0] @ features[:, sample]
        for weight in weights[1:]:
            hidden = weight @ (torch.relu(hidden) if problem.activation == "relu" else hidden)
        if problem.loss == "mse":
            target = torch.zeros_like(hidden)
            target[label] = 1.0
            total = total + ((hidden - target) ** 2).sum() / (2 * problem.num_samples)
        else:
            total = total - (hidden[label] - torch.logsumexp(hidden, dim=0)) / problem.num_samples
    return total


def dnc_loss(problem):
    """min(1/2, min_s ½(1−s)² + K (L+1)/2 λ̄ s^{2/(L+1)}), by a fine grid and golden sections around its best point."""
    order = problem.depth + 1
    decays = [problem.samples_per_class * problem.feature_decay, *problem.weight_decays]
    mean = math.prod(decays) ** (1 / order)

    def loss(s):
        return (1 - s) ** 2 / 2 + problem.num_classes * order / 2 * mean * s ** (2 / order)

    best = min(range(1, 20_001), key=lambda index: loss(index / 10_000)) / 10_000
    low, high = best - 1e-4, best + 1e-4
    for _ in range(60):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return min(0.5, loss((low + high) / 2))


class Here:
    """Surroundings of a DUFM command in this process."""

    job_id, run, step, device, service_version = "job_1", None, None, "cpu", "0.1.0"
    spread_bytes = None

    def __init__(self, *, stop_after=None):
        self.artifacts = {}
        self.heard = []
        self._stop_after = stop_after

    def previous_report(self):
        return None

    def keep_artifact(self, name, content):
        self.artifacts[name] = content

    def progress(self, *, phase, current, total):
        self.heard.append((phase, current, total))
        if self._stop_after is not None and len(self.heard) > self._stop_after:
            raise Stop


class Stop(BaseException):
    """The job was cancelled."""
