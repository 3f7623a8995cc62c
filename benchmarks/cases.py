"""The sizes that are measured, and made-up features of those sizes, in memory and as a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

SPREAD = 2.0
"""Of the class means, the noise being 1: so far apart that all K − 1 directions stand out of the noise."""
AMBIGUOUS, FURTHEST = 0.3, 0.8
"""Share of the samples that lie on the way to the mean of another class, and how far at most: past half of it a sample
is nearest to the other class, so that there are wrong decisions, and close ones."""
CHUNK_ROWS = 1 << 14


@dataclass(frozen=True)
class Case:
    """Layers of N × d features in K classes."""

    num_samples: int
    dim: int
    num_classes: int
    num_layers: int = 1

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read "N,d,K", or "8xN,d,K" for 8 layers in one file."""
        match = re.fullmatch(r"(?:(\d+)x)?(\d+),(\d+),(\d+)", text)
        if match is None:
            raise ValueError(f"{text!r} is not N,d,K or LAYERSxN,d,K")
        layers, num_samples, dim, num_classes = (int(number or 1) for number in match.groups())
        return cls(num_samples, dim, num_classes, layers)

    def __str__(self) -> str:
        layers = f"{self.num_layers}x" if self.num_layers > 1 else ""
        return f"{layers}{self.num_samples},{self.dim},{self.num_classes}"


@dataclass(frozen=True)
class Data:
    """Features of every layer, and the classifier of the last one; all float32."""

    labels: Tensor
    features: dict[str, Tensor]
    weights: Tensor

    def layers(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Features, labels and, for the last layer, weights: what the alternatives take."""
        last = list(self.features)[-1]
        for name, features in self.features.items():
            yield features, self.labels, self.weights if name == last else None

    def write(self, path: Path) -> int:
        """Write the feature file, and read it once so that it is in the page cache; return its size."""
        last = list(self.features)[-1]
        tensors = {f"features.{name}": features for name, features in self.features.items()}
        save_file({"labels": self.labels, **tensors, f"weights.{last}": self.weights}, path)
        return warm_up(path)


def make_data(case: Case) -> Data:
    """Draw the data of a case; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(case.num_classes, (case.num_samples,), generator=generator)
    features = {}
    for index in range(case.num_layers):
        means = SPREAD * torch.randn(case.num_classes, case.dim, generator=generator)
        features[f"layer{index + 1}"] = _draw(means, labels, generator)
    noise = torch.randn(means.shape, generator=generator)
    return Data(labels, features, (means - means.mean(dim=0)) / SPREAD + 0.5 * noise)


def _draw(means: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Noise around the class means, some samples on the way to another class's; chunk by chunk, to need no copy."""
    num_samples, num_classes = len(labels), len(means)
    features = torch.randn(num_samples, means.shape[1], generator=generator)
    others = torch.randint(num_classes, (num_samples,), generator=generator)
    ambiguous = torch.rand(num_samples, generator=generator) < AMBIGUOUS
    shares = ambiguous * FURTHEST * torch.rand(num_samples, generator=generator)
    chunks = zip(*(tensor.split(CHUNK_ROWS) for tensor in (features, labels, others, shares)), strict=True)
    for chunk, own, other, share in chunks:
        chunk += means[own].lerp(means[other], share[:, None])
    return features


def warm_up(path: Path) -> int:
    """Read a file once; return its size."""
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return path.stat().st_size
