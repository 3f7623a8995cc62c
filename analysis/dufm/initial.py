"""Where training begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem


def initial_variables(problem: Problem, seeds: Sequence[int], *, scale: float) -> Variables:
    """Normal entries, of standard deviation scale/√d_1 for H_1 and scale/√(columns) for W_l; one run a seed.

    Each seed has a generator of its own, on the CPU, and draws H_1, W_1, …, W_L in this order: a run is the same
    whatever runs are beside it, on every device.

    >>> problem = Problem(num_classes=2, widths=(3,), weight_decays=(0.1,), feature_decay=0.1)
    >>> both, second = (initial_variables(problem, seeds, scale=1.0) for seeds in ([4, 5], [5]))
    >>> torch.equal(both.features[1], second.features[0])
    True
    """
    shapes = ((problem.widths[0], problem.num_samples), *problem.weight_shapes)
    features, *weights = (torch.empty(len(seeds), *shape, dtype=torch.float64) for shape in shapes)
    variables = Variables(features, tuple(weights))
    for run, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        for tensor, fan_in in zip(variables.tensors, (problem.widths[0], *problem.widths), strict=True):
            tensor[run].normal_(std=scale / fan_in**0.5, generator=generator)
    return variables
