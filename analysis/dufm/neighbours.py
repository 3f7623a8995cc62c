"""Starts of the search from the catalogue: the solutions of the same cell and of those beside it."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import torch

from analysis.dufm import catalogue
from analysis.dufm.artifacts import from_safetensors
from analysis.dufm.model import Variables
from analysis.dufm.problem import Problem
from analysis.dufm.search.starts import Start

ADDED_CLASSES = 8
"""Tries to give a solution the classes that are missing."""


def neighbours(problem: Problem) -> list[Start]:
    """Solutions of the reduced problem, made from entries of the catalogue.

    Of the same K and L at every decay; of L ± 1 with a layer taken out or put in; of K + 1 with each class left out; of
    K − 1 with a class added: all but the first at the decay nearest to λ̄. Beyond the catalogue's largest K or L, from
    there on, with as many layers or classes as are missing. Zero solutions are left out.
    """
    num_classes, depth, decay = problem.num_classes, problem.depth, problem.effective_decay
    nearest = min(catalogue.DECAYS, key=lambda known: abs(log(known / decay)))
    starts = [
        Start(f"catalogue: K={num_classes} L={depth} decay={known}", variables)
        for known in catalogue.DECAYS
        for variables in _solution(num_classes, depth, known)
    ]
    shallower = min(depth - 1, max(catalogue.DEPTHS))
    starts += [
        Start(f"catalogue: K={num_classes} L={shallower}", _with_layers(variables, depth - shallower))
        for variables in _solution(num_classes, shallower, nearest)
    ]
    starts += [
        Start(f"catalogue: K={num_classes} L={depth + 1}", _without_a_layer(variables))
        for variables in _solution(num_classes, depth + 1, nearest)
    ]
    for variables in _solution(num_classes + 1, depth, nearest):
        starts += [
            Start(f"catalogue: K={num_classes + 1} L={depth}", _without_class(variables, left_out))
            for left_out in range(num_classes + 1)
        ]
    generator = torch.Generator().manual_seed(0)
    fewer = min(num_classes - 1, max(catalogue.CLASSES))
    for variables in _solution(fewer, depth, nearest):
        starts += [
            Start(f"catalogue: K={fewer} L={depth}", _with_classes(variables, num_classes - fewer, generator))
            for _ in range(ADDED_CLASSES)
        ]
    return starts


def _solution(num_classes: int, depth: int, decay: float) -> Iterator[Variables]:
    """One or none."""
    entry = catalogue.find(num_classes, depth, decay)
    if entry is not None and entry.structure != "zero":
        yield from_safetensors(catalogue.solution(entry))


def _with_layers(variables: Variables, number: int) -> Variables:
    """Identities behind W_1: they pass on what is not negative, and cut off what is."""
    first, *rest = variables.weights
    between = torch.eye(first.shape[1], dtype=first.dtype)[None]
    return Variables(variables.features, (first, *[between] * number, *rest))


def _without_a_layer(variables: Variables) -> Variables:
    """W_2 W_1 in place of the two: the same where H_2 is not negative."""
    first, second, *rest = variables.weights
    return Variables(variables.features, (second @ first, *rest))


def _without_class(variables: Variables, left_out: int) -> Variables:
    kept = [index for index in range(variables.features.shape[2]) if index != left_out]
    *rest, last = variables.weights
    return Variables(variables.features[:, :, kept], (*rest, last[:, kept]))


def _with_classes(variables: Variables, number: int, generator: torch.Generator) -> Variables:
    for _ in range(number):
        variables = _with_a_class(variables, generator)
    return variables


def _with_a_class(variables: Variables, generator: torch.Generator) -> Variables:
    """A class between two others, decoded at random."""
    features, (*rest, last) = variables.features, variables.weights
    pair = torch.randperm(features.shape[2], generator=generator)[:2]
    feature = features[:, :, pair].mean(dim=2, keepdim=True)
    feature = feature + 0.3 * _spread(features) * _normal(feature, generator)
    row = 0.3 * _spread(last) * _normal(last[:, :1], generator)
    return Variables(torch.cat([features, feature], dim=2), (*rest, torch.cat([last, row], dim=1)))


def _spread(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.square().mean().sqrt()


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)
