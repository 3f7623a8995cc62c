"""What jobs on parts of a feature set leave for the whole, besides moments: sums of residuals, weights, biases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from analysis.errors import UndefinedMetric
from analysis.origin import Enclosures, Split
from analysis.residuals import Residuals

Key = tuple[str, Split]
OOD_ROWS = 1 << 16


class ResidualSums:
    """What the second pass gives, by layer and split, or why it gives nothing; sums over parts add up."""

    def __init__(self) -> None:
        self._found: dict[Key, Residuals | UndefinedMetric] = {}

    def add(self, layer: str, split: Split, found: Residuals | UndefinedMetric) -> None:
        """Add what some parts have. What is undefined for the whole is so in every part, with the same words."""
        before = self._found.get((layer, split))
        if isinstance(before, Residuals) and isinstance(found, Residuals):
            found = before + found
        self._found[layer, split] = found

    def to_bytes(self) -> bytes:
        """As safetensors; what is undefined is told in the header."""
        tensors: dict[str, np.ndarray] = {}
        undefined = {}
        for (layer, split), found in self._found.items():
            if isinstance(found, UndefinedMetric):
                undefined[json.dumps([layer, split])] = [found.code, found.detail]
                continue
            for kind, value in vars(found).items():
                if value is not None:
                    tensors[json.dumps([kind, layer, split])] = np.asarray(torch.as_tensor(value).cpu())
        return safetensors.numpy.save(tensors, {"undefined": json.dumps(undefined)})

    @classmethod
    def together(cls, contents: Sequence[bytes]) -> Mapping[Key, Residuals | UndefinedMetric]:
        """The sums of several parts, in their order."""
        whole = cls()
        for content in contents:
            for (layer, split), found in _read(content):
                whole.add(layer, split, found)
        return whole._found


def _read(content: bytes) -> Iterator[tuple[Key, Residuals | UndefinedMetric]]:
    length = int.from_bytes(content[:8], "little")
    undefined = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["undefined"])
    for key, (code, detail) in undefined.items():
        layer, split = json.loads(key)
        yield (layer, split), UndefinedMetric(code, detail)
    by_key: dict[Key, dict[str, torch.Tensor]] = {}
    for key, value in safetensors.numpy.load(content).items():
        kind, layer, split = json.loads(key)
        by_key.setdefault((layer, split), {})[kind] = torch.from_numpy(value)
    for found_key, found in by_key.items():
        disagreements = found.get("disagreements")
        yield (
            found_key,
            Residuals(
                projected_scatter=found.get("projected_scatter"),
                nearest_center_hits=found["nearest_center_hits"],
                disagreements=None if disagreements is None else int(disagreements),
            ),
        )


def write_enclosures(parts: Sequence[Enclosures], layers: Sequence[str]) -> bytes | None:
    """Weights, biases and samples of no class of the parts, in one file; None where they have none."""
    tensors: dict[str, np.ndarray] = {}
    for layer in layers:
        for part in parts:
            for kind, value in (("weights", part.weights(layer)), ("biases", part.biases(layer))):
                if value is not None:
                    tensors.setdefault(f"{kind}.{layer}", value)
        ood = [np.array(tile) for part in parts for tile in part.ood_tiles(layer, OOD_ROWS)]
        if ood:
            tensors[f"ood.{layer}"] = np.concatenate(ood)
    return safetensors.numpy.save(tensors) if tensors else None


class Enclosed(Enclosures):
    """The same, read again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def weights(self, layer: str) -> np.ndarray | None:
        """Matrix applied to the layer's features, (d_out, d_in)."""
        return self._tensor(f"weights.{layer}")

    def biases(self, layer: str) -> np.ndarray | None:
        """Its bias, (d_out,)."""
        return self._tensor(f"biases.{layer}")

    def ood_tiles(self, layer: str, rows: int) -> Iterator[np.ndarray]:
        """Samples of no class."""
        samples = self._tensor(f"ood.{layer}")
        if samples is not None:
            yield from (samples[start : start + rows] for start in range(0, len(samples), rows))

    def _tensor(self, name: str) -> np.ndarray | None:
        if self._path is None:
            return None
        with safetensors.safe_open(self._path, framework="numpy") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 (no mapping)
