"""Starts from the catalogue: what they are made of, and that they fit."""

from dataclasses import replace

import pytest

from analysis.dufm import catalogue
from analysis.dufm.artifacts import from_safetensors
from analysis.dufm.model import losses
from analysis.dufm.neighbours import ADDED_CLASSES, neighbours
from analysis.dufm.problem import Problem


def problem(num_classes, depth, decay=0.004):
    return Problem(num_classes=num_classes, widths=(60,) * depth, weight_decays=(decay,) * depth, feature_decay=decay)


def fit(of, variables):
    widths = tuple(tensor.shape[1] for tensor in variables.tensors[:-1])
    return float(losses(replace(of, widths=widths), variables).fit)


@pytest.mark.parametrize(("num_classes", "depth"), [(5, 3), (15, 7), (2, 2), (6, 9), (18, 4)])
def test_every_start_is_a_solution_of_the_problem(num_classes, depth):
    found = neighbours(problem(num_classes, depth, decay=0.003))
    assert found
    for start in found:
        features, *weights = start.variables.tensors
        assert len(weights) == depth
        assert features.shape[2] == weights[-1].shape[1] == num_classes
        assert fit(problem(num_classes, depth), start.variables) >= 0  # the shapes fit together


@pytest.mark.parametrize(("depth", "shallower"), [(5, 4), (8, 7), (12, 7)])
def test_more_layers_say_what_the_shallower_network_said(depth, shallower):
    starts = {start.name: start.variables for start in neighbours(problem(6, depth))}
    entry = catalogue.find(6, shallower, 0.004)
    expected = fit(problem(6, shallower), from_safetensors(catalogue.solution(entry)))
    assert fit(problem(6, depth), starts[f"catalogue: K=6 L={shallower}"]) == pytest.approx(expected, rel=1e-12)


def test_beyond_the_largest_number_of_classes_it_is_begun_from_there():
    names = [start.name for start in neighbours(problem(18, 4))]
    assert names == ["catalogue: K=15 L=4"] * ADDED_CLASSES


def test_one_class_more_gives_as_many_starts_as_there_are_classes_to_leave_out():
    names = [start.name for start in neighbours(problem(6, 4))]
    assert names.count("catalogue: K=7 L=4") == 7
    assert [name for name in names if "decay" in name] == [
        f"catalogue: K=6 L=4 decay={decay}" for decay in catalogue.DECAYS
    ]


def test_zero_teaches_nothing():
    assert all(start.variables.features.any() for start in neighbours(problem(15, 7, decay=0.016)))
