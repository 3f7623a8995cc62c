"""Parameters and names of graphs, against counting pair by pair."""

import numpy as np
import pytest
import torch
from graphs import CHANG_GRAPHS, as_dict, complement, each_graph, graph

from analysis.strongly_regular import graph_name, graph_parameters


def naive_parameters(adjacency):
    """A² = kI + λA + μ(J − I − A), counted pair by pair."""
    size = len(adjacency)
    seen = {"k": set(), "lambda": set(), "mu": set()}
    for i in range(size):
        for j in range(size):
            common = sum(1 for m in range(size) if adjacency[i][m] and adjacency[m][j])
            seen["k" if i == j else "lambda" if adjacency[i][j] else "mu"].add(common)
    if any(len(values) != 1 for values in seen.values()):
        return None
    return {"v": size} | {name: values.pop() for name, values in seen.items()}


@each_graph
def test_parameters_and_name_of_a_graph(name, adjacency, parameters):
    found = graph_parameters(torch.as_tensor(adjacency))
    assert found == as_dict(parameters)
    assert found == naive_parameters(adjacency.tolist())
    assert graph_name(torch.as_tensor(adjacency), found) == name


def test_all_chang_graphs_are_told_from_the_triangular_graph():
    for adjacency in CHANG_GRAPHS:
        assert naive_parameters(adjacency.tolist()) == as_dict((28, 12, 6, 4))
        assert graph_name(torch.as_tensor(adjacency), as_dict((28, 12, 6, 4))) == "Chang graph"


@pytest.mark.parametrize("seed", range(30))
def test_parameters_of_any_graph_are_those_counted(seed):
    generator = np.random.default_rng(seed)
    size = int(generator.integers(3, 7))
    adjacency = np.triu(generator.random((size, size)) < generator.random(), 1)
    adjacency = adjacency | adjacency.T
    assert graph_parameters(torch.as_tensor(adjacency)) == naive_parameters(adjacency.tolist())


@pytest.mark.parametrize(
    "adjacency",
    [
        np.zeros((5, 5), dtype=bool),
        complement(np.zeros((5, 5), dtype=bool)),
        graph(range(6), lambda x, y: (x - y) % 6 in (1, 5)),  # regular, and no more
        graph(range(8), lambda x, y: (x ^ y).bit_count() == 1),  # the cube: no common neighbours or 2, strangers 2 or 0
        graph(range(4), lambda x, y: 0 in (x, y)),
    ],
    ids=["empty", "complete", "hexagon", "cube", "star"],
)
def test_graphs_that_are_not_strongly_regular(adjacency):
    assert naive_parameters(adjacency.tolist()) is None
    assert graph_parameters(torch.as_tensor(adjacency)) is None
