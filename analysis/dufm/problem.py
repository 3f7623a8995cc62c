"""One deep unconstrained features model: everything that its loss depends on but the variables. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, fsum, log
from typing import Literal

Loss = Literal["mse", "cross_entropy"]
Activation = Literal["relu", "linear"]


@dataclass(frozen=True)
class Problem:
    """K classes, n samples each, L weights; variables H_1 (d_1 × N), W_1 … W_L (W_l is d_{l+1} × d_l, d_{L+1} = K).

    H_2 = W_1 H_1, H_{l+1} = W_l σ(H_l) for l = 2 … L, output H_{L+1}; H_1 itself is not rectified, there are no biases.

    Loss = fit + regularization,  fit = 1/(2N) ‖H_{L+1} − Y‖²_F (mse) or the mean cross-entropy of the columns,
    regularization = Σ_l λ_{W_l}/2 ‖W_l‖²_F + λ_{H_1}/2 ‖H_1‖²_F,  Y = I_K ⊗ 1_nᵀ (the samples of a class side by side).
    """

    num_classes: int
    widths: tuple[int, ...]
    """d_1 … d_L"""
    weight_decays: tuple[float, ...]
    """λ_{W_1} … λ_{W_L}"""
    feature_decay: float
    """λ_{H_1}"""
    samples_per_class: int = 1
    loss: Loss = "mse"
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.weight_decays) or not self.widths:
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.weight_decays)} weight decays: one of each per weight"
            )

    @property
    def depth(self) -> int:
        """L, the number of weights."""
        return len(self.widths)

    @property
    def num_samples(self) -> int:
        """N = nK."""
        return self.samples_per_class * self.num_classes

    @property
    def weight_shapes(self) -> tuple[tuple[int, int], ...]:
        """(d_{l+1}, d_l) of W_1 … W_L."""
        return tuple(zip((*self.widths[1:], self.num_classes), self.widths, strict=True))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of a report's layers: H_1, then H_l and relu(H_l) for l = 2 … L, and output."""
        hidden = (name for index in range(2, self.depth + 1) for name in (f"H_{index}", f"relu(H_{index})"))
        return ("H_1", *hidden, "output")

    def with_widths(self, widths: tuple[int, ...]) -> Problem:
        """The same with layers of these widths."""
        return replace(self, widths=widths)

    @property
    def last_pre_activation(self) -> str:
        """H_L, the layer whose rank tells low-rank solutions from others; the output at depth 1."""
        return f"H_{self.depth}" if self.depth > 1 else "output"

    @property
    def effective_decay(self) -> float:
        """λ̄ = (n λ_{H_1} Π_l λ_{W_l})^{1/(L+1)}: the minimum depends on the decays through it alone; 0 if one is 0."""
        decays = (self.samples_per_class * self.feature_decay, *self.weight_decays)
        if len(set(decays)) == 1:  # exactly: what is reduced already stays as it is
            return decays[0]
        if min(decays) == 0:
            return 0.0
        return exp(fsum(map(log, decays)) / len(decays))

    @property
    def reduced(self) -> Problem:
        """The problem at n = 1 with all decays λ̄: the same minimum (`rescale` takes its solutions back)."""
        decay = self.effective_decay
        return replace(self, samples_per_class=1, weight_decays=(decay,) * self.depth, feature_decay=decay)
