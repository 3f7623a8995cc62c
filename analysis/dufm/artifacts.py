"""The files that DUFM jobs leave beside their report, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from analysis.dufm.model import Variables

SOLUTION = "solution.safetensors"
"""Name of the file with the variables of the best run."""
SOLUTIONS = "solutions.safetensors"
"""Name of the file with the variables of every run."""
TRAJECTORY = "trajectory.parquet"
"""Name of the file with what training recorded of every run."""


def to_safetensors(variables: Variables, metadata: Mapping[str, str]) -> bytes:
    """One run's H_1 (d_1 × N), W_1 … W_L (W_l is d_{l+1} × d_l) under these names, in float64.

    metadata: strings, kept in the file's header.

    >>> eye = torch.eye(2)[None]
    >>> content = to_safetensors(Variables(eye, (eye, 2 * eye)), {"loss": "0.1"})
    >>> from_safetensors(content).weights[1].tolist()
    [[[2.0, 0.0], [0.0, 2.0]]]
    """
    return _save({name: tensor.squeeze(0) for name, tensor in _named(variables.run(0)).items()}, metadata)


def all_to_safetensors(variables: Variables, metadata: Mapping[str, str]) -> bytes:
    """The same of all runs: H_1 (runs × d_1 × N) and so on."""
    return _save(_named(variables), metadata)


def from_safetensors(content: bytes) -> Variables:
    """Read back what `to_safetensors` has written, as a batch of one; of `all_to_safetensors`, as a batch of all.

    Raises ValueError where H_1 or W_1 is missing.
    """
    tensors = safetensors.torch.load(content)
    missing = {"H_1", "W_1"} - set(tensors)
    if missing:
        raise ValueError(f"no tensor {' and '.join(sorted(missing))}: a solution has H_1 and W_1 … W_L")
    batched = {name: tensor if tensor.ndim == 3 else tensor.unsqueeze(0) for name, tensor in tensors.items()}
    depth = len(tensors) - 1
    return Variables(batched["H_1"], tuple(batched[f"W_{index}"] for index in range(1, depth + 1)))


def read_metadata(content: bytes) -> dict[str, str]:
    """The strings in the header of such a file."""
    header, _ = _split(content)
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _named(variables: Variables) -> dict[str, torch.Tensor]:
    names = ("H_1", *(f"W_{index}" for index in range(1, len(variables.weights) + 1)))
    return {
        name: tensor.detach().to(device="cpu", dtype=torch.float64).contiguous()
        for name, tensor in zip(names, variables.tensors, strict=True)
    }


def _save(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """As safetensors does, whose own order of the metadata is another one in every process."""
    header, numbers = _split(safetensors.torch.save(dict(tensors)))
    text = json.dumps({"__metadata__": dict(metadata), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers: eight bytes tell the header's length."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]
