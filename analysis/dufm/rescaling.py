"""What leaves the loss as it is, or lowers it: other decays, n samples for one, wider layers, balanced neurons.

ReLU is positively homogeneous: H_1 → c_0 H_1 and W_l → c_l W_l, all c > 0 with Π c = 1, leave the output unchanged, so
that c_l = (λ̄/λ_l)^{1/2} turns a solution at equal decays λ̄ into one at the decays λ_l, of the same loss.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import torch
from torch import Tensor

from analysis.dufm.model import Variables, class_means
from analysis.dufm.problem import Problem

BALANCED: Final = 1e-13
"""`balance` ends once a sweep lowers the regularization by no more than this share."""
MOST_SWEEPS: Final = 1000


def expand(problem: Problem, variables: Variables) -> Variables:
    """Variables of `problem.reduced` (H_1 is d_1 × K) → variables of the problem (d_1 × N) of exactly the same loss.

    H_1 → (λ̄ / nλ_{H_1})^{1/2} H_1 ⊗ 1_nᵀ,  W_l → (λ̄ / λ_{W_l})^{1/2} W_l. Raises ValueError where a decay is 0.

    >>> problem = Problem(num_classes=2, widths=(2,), weight_decays=(0.4,), feature_decay=0.1, samples_per_class=2)
    >>> eye = torch.eye(2)[None]
    >>> expanded = expand(problem, Variables(eye, (2 * eye,)))
    >>> expanded.features.shape, round(expanded.weights[0][0, 0, 0].item(), 6)
    (torch.Size([1, 2, 4]), 1.681793)
    """
    feature_factor, *weight_factors = _factors(problem)
    features = variables.features.repeat_interleave(problem.samples_per_class, dim=2)
    return Variables(
        features * feature_factor,
        tuple(weight * factor for weight, factor in zip(variables.weights, weight_factors, strict=True)),
    )


def reduce(problem: Problem, variables: Variables) -> Variables:
    """Variables of the problem → variables of `problem.reduced`: class means of H_1, and the factors of `expand` out.

    The loss is the same where the samples of a class coincide, as they do at every optimum. Raises ValueError where a
    decay is 0.

    >>> problem = Problem(num_classes=2, widths=(2,), weight_decays=(0.4,), feature_decay=0.1, samples_per_class=2)
    >>> eye = torch.eye(2)[None]
    >>> reduce(problem, expand(problem, Variables(eye, (eye,)))).features.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    feature_factor, *weight_factors = _factors(problem)
    return Variables(
        class_means(problem, variables.features) / feature_factor,
        tuple(weight / factor for weight, factor in zip(variables.weights, weight_factors, strict=True)),
    )


def pad(variables: Variables, widths: tuple[int, ...]) -> Variables:
    """The same function in layers of these widths d_1 … d_L: neurons of zeros are added at the end.

    Raises ValueError where a width is smaller than the layer.

    >>> [tuple(weight.shape) for weight in pad(Variables(torch.ones(1, 2, 2), (torch.ones(1, 2, 2),)), (5,)).weights]
    [(1, 2, 5)]
    """
    present = tuple(weight.shape[2] for weight in variables.weights)
    if len(widths) != len(present) or any(width < least for width, least in zip(widths, present, strict=True)):
        raise ValueError(f"layers of widths {present} do not fit into {widths}")
    rows = (*widths[1:], variables.weights[-1].shape[1])
    weights = (
        _padded(weight, height, width) for weight, height, width in zip(variables.weights, rows, widths, strict=True)
    )
    return Variables(_padded(variables.features, widths[0], variables.features.shape[2]), tuple(weights))


def balance(problem: Problem, variables: Variables) -> Variables:
    """The same function with the least regularization that rescaling can reach: neuron by neuron, at every layer.

    Neuron i of layer l (row i of what is before it, column i of W_l) may take any factor a > 0 into its row if its
    column takes 1/a. The sum of squares is convex in log a, and least where λ_{l−1}‖row‖² = λ_l‖column‖² for all
    neurons; the layers' shares λ_l‖W_l‖² are then equal, too. A neuron with a row or a column of zeros becomes all
    zeros. Found by sweeps over the layers, after the layers as wholes were made equal; each sweep lowers the loss.

    >>> problem = Problem(num_classes=1, widths=(1,), weight_decays=(0.1,), feature_decay=0.1)
    >>> one = torch.ones(1, 1, 1)
    >>> balance(problem, Variables(4 * one, (one,))).weights[0].item()
    2.0
    """
    decays = (problem.feature_decay, *problem.weight_decays)
    if min(decays) == 0:
        raise ValueError("with a decay of 0 the regularization has no least value over rescalings: give all > 0")
    scaled = [tensor * sqrt(decay) for tensor, decay in zip(variables.tensors, decays, strict=True)]
    scaled = _balanced_layers(scaled)
    before = _energy(scaled)
    for _ in range(MOST_SWEEPS):
        for index in range(len(scaled) - 1):
            scaled[index], scaled[index + 1] = _balanced_neurons(scaled[index], scaled[index + 1])
        after = _energy(scaled)
        if bool((before - after <= BALANCED * before).all()):
            break
        before = after
    features, *weights = (tensor / sqrt(decay) for tensor, decay in zip(scaled, decays, strict=True))
    return Variables(features, tuple(weights))


def _factors(problem: Problem) -> list[float]:
    decay = problem.effective_decay
    if decay == 0:
        raise ValueError("with a decay of 0 there is no equivalent problem of equal decays: give all > 0")
    own = (problem.samples_per_class * problem.feature_decay, *problem.weight_decays)
    return [sqrt(decay / each) for each in own]


def _padded(matrix: Tensor, height: int, width: int) -> Tensor:
    return torch.nn.functional.pad(matrix, (0, width - matrix.shape[2], 0, height - matrix.shape[1]))


def _energy(scaled: list[Tensor]) -> Tensor:
    return torch.stack([tensor.square().sum(dim=(1, 2)) for tensor in scaled]).sum(dim=0)


def _balanced_layers(scaled: list[Tensor]) -> list[Tensor]:
    """All norms equal to their geometric mean; a run with a layer of zeros is all zeros."""
    norms = torch.stack([torch.linalg.matrix_norm(tensor) for tensor in scaled])
    mean = norms.log().mean(dim=0).exp()
    factors = torch.where(norms > 0, mean / norms, 0)
    return [tensor * factor[:, None, None] for tensor, factor in zip(scaled, factors, strict=True)]


def _balanced_neurons(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = before.norm(dim=2), after.norm(dim=1)
    alive = (rows > 0) & (columns > 0)
    into_row = torch.where(alive, (columns / rows).sqrt(), 0)
    into_column = torch.where(alive, (rows / columns).sqrt(), 0)
    return before * into_row[:, :, None], after * into_column[:, None, :]
