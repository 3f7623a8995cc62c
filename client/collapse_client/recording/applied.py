"""The matrices that are applied to the features of recorded layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class Applied:
    """Weights (d_out, d) and biases (d_out,) by layer, copied, on the CPU."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, modules: Mapping[str, nn.Module], dims: Mapping[str, int]) -> Applied:
        """Take those of the modules (by layer) that are matrices for features of these dims.

        >>> Applied.of({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)}, {"a": 3, "b": 9}).weights.keys()
        dict_keys(['a'])
        """
        applied = cls()
        for layer, module in modules.items():
            weight, bias = module.weight, getattr(module, "bias", None)
            if layer not in dims or not isinstance(weight, Tensor) or weight.numel() != len(weight) * dims[layer]:
                continue  # it is applied to something else than what is recorded, such as each position by itself
            applied.weights[layer] = _copied(weight).flatten(1)
            if isinstance(bias, Tensor):
                applied.biases[layer] = _copied(bias)
        return applied


def _copied(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", copy=True)
