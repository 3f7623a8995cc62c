"""Small feature files for tests."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

Arrays = dict[str, np.ndarray]


def feature_arrays(
    *, num_samples: int = 200, num_classes: int = 4, dims: tuple[int, ...] = (6, 5), noise: float = 0.1, seed: int = 0
) -> Arrays:
    """Noisy class means: layers `layer0`, `layer1` …, the last with a classifier."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_samples, dtype=np.int64) % num_classes
    generator.shuffle(labels)
    arrays: Arrays = {"labels": labels}
    for index, dim in enumerate(dims):
        means = generator.normal(size=(num_classes, dim))
        samples = means[labels] + noise * generator.normal(size=(num_samples, dim))
        arrays[f"features.layer{index}"] = samples.astype(np.float32)
    arrays[f"weights.layer{len(dims) - 1}"] = generator.normal(size=(num_classes, dims[-1])).astype(np.float32)
    return arrays


def write_file(path: Path, arrays: Arrays, **metadata: str) -> Path:
    """One safetensors file."""
    save_file(arrays, path, metadata=metadata or None)
    return path


def split(arrays: Arrays, bounds: list[int]) -> list[Arrays]:
    """The same samples in several files; the weights in the first."""
    edges = [0, *bounds, len(arrays["labels"])]
    parts = []
    for start, stop in pairwise(edges):
        part = {
            name: array if name.startswith(("weights.", "biases.")) else array[start:stop]
            for name, array in arrays.items()
            if start == 0 or not name.startswith(("weights.", "biases."))
        }
        parts.append({name: np.ascontiguousarray(array) for name, array in part.items()})
    return parts


def moments_of(arrays: Arrays) -> Arrays:
    """The class-by-class moments of the same samples, in float64."""
    classes, counts = np.unique(arrays["labels"], return_counts=True)
    moments: Arrays = {"classes": classes, "counts": counts}
    for name, features in arrays.items():
        kind, _, layer = name.partition(".")
        if kind == "features":
            of_classes = [features[arrays["labels"] == label].astype(np.float64) for label in classes]
            moments[f"means.{layer}"] = np.stack([own.mean(axis=0) for own in of_classes])
            moments[f"scatter.{layer}"] = np.array([((own - own.mean(axis=0)) ** 2).sum() for own in of_classes])
        elif kind in ("weights", "biases"):
            moments[name] = features
    return moments
