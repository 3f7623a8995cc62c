"""The order of classes in a heat map shows what structure they have."""

import copy
import itertools
import random

import numpy as np
import pytest

import figures
from figures.ordering import class_order


def triangular(size, seed=0):
    """Gram matrix and edges of the graph whose vertices are the pairs of so many, in random order."""
    pairs = list(itertools.combinations(range(size), 2))
    random.Random(seed).shuffle(pairs)
    adjacent = np.array([[len(set(a) & set(b)) == 1 for b in pairs] for a in pairs])
    edges = [[i, j] for i, j in itertools.combinations(range(len(pairs)), 2) if adjacent[i, j]]
    return (2 * np.eye(len(pairs)) + adjacent).tolist(), edges, pairs


@pytest.mark.parametrize("size", [4, 5, 6, 8])
@pytest.mark.parametrize("seed", range(3))
def test_cliques_of_a_graph_stand_together(size, seed):
    gram, edges, pairs = triangular(size, seed)
    order = class_order(gram, {"kind": "strongly_regular_graph", "edges": edges}, [str(i) for i in range(len(gram))])
    assert sorted(order) == list(range(len(gram)))
    first = [set(pairs[index]) for index in order[: size - 1]]
    assert size == 4 or set.intersection(*first)  # the edges at one vertex; of four vertices, perhaps a triangle


def test_labels_need_not_be_positions():
    gram, edges, _ = triangular(5)
    labels = [str(7 * index + 3) for index in range(10)]
    renamed = [[7 * i + 3, 7 * j + 3] for i, j in edges]
    by_position = class_order(gram, {"kind": "strongly_regular_graph", "edges": edges}, [str(i) for i in range(10)])
    assert class_order(gram, {"kind": "strongly_regular_graph", "edges": renamed}, labels) == by_position


def test_groups_of_similar_classes_stand_together():
    generator = np.random.default_rng(0)
    groups = generator.permutation(np.arange(12) % 3)
    means = np.eye(3)[groups] + 0.05 * generator.normal(size=(12, 3))
    order = class_order((means @ means.T).tolist(), {"kind": "none", "edges": None}, [str(i) for i in range(12)])
    found = [groups[index] for index in order]
    assert len(list(itertools.groupby(found))) == 3


@pytest.mark.parametrize("structure", [None, {"kind": "simplex_etf"}, {"kind": "orthogonal_frame"}])
def test_where_all_classes_are_alike_they_keep_their_order(structure):
    gram = np.random.default_rng(0).normal(size=(6, 6))
    assert class_order((gram @ gram.T).tolist(), structure, list("abcdef")) == list(range(6))


@pytest.mark.parametrize("gram", [np.zeros((5, 5)), np.ones((5, 5)), np.eye(1), np.eye(2), np.eye(300)])
def test_degenerate_matrices_keep_their_order(gram):
    labels = [str(index) for index in range(len(gram))]
    assert class_order(gram.tolist(), {"kind": "none", "edges": None}, labels) == list(range(len(gram)))


def test_the_heat_map_is_in_that_order(trained):
    report = copy.deepcopy(trained)
    gram, edges, _ = triangular(5)
    report["class_counts"] = {str(10 + index): 2 for index in range(10)}
    report["layers"][0]["class_mean_gram"] = gram
    report["layers"][0]["structure"] = {
        "kind": "strongly_regular_graph",
        "edges": [[10 + i, 10 + j] for i, j in edges],
    }
    specification = figures.specification(report, "gram-1")
    expected = [
        str(10 + index)
        for index in class_order(gram, {"kind": "strongly_regular_graph", "edges": edges}, [str(i) for i in range(10)])
    ]
    for axis in ("x", "y"):
        assert specification["layer"][0]["encoding"][axis]["scale"]["domain"] == expected
    cells = {(row["row"], row["column"]): row["value"] for row in specification["data"]["values"]}
    assert cells == {(str(10 + i), str(10 + j)): gram[i][j] for i in range(10) for j in range(10)}
