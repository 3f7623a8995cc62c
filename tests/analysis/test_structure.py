"""Frames, simplices and strongly regular graphs are known by their Gram matrices; nothing else is."""

import itertools

import numpy as np
import pytest
import torch
from graphs import NAMED, as_dict, complement, each_graph, triangular, union

from analysis.errors import UndefinedMetric
from analysis.structure import find_structure
from analysis.structure_report import Structure


def means_of(adjacency, *, second=0.0):
    """Class means whose centred Gram is E + second · F, with E, F the eigenspaces of A without the ones; E the upper.

    With second = 0 of low rank; near 1 almost a simplex.
    """
    size = len(adjacency)
    values, vectors = np.linalg.eigh(adjacency - 2.0 * np.ones((size, size)))
    values, vectors = values[1:], vectors[:, 1:]  # the first is that of the ones
    return vectors * np.sqrt(np.where(values > values[-1] - 1e-6, 1, second))


def incidence(r):
    edges = list(itertools.combinations(range(r), 2))
    return np.array([[float(vertex in edge) for vertex in range(r)] for edge in edges])


def place(means, *, dim=None, offset=0.0, scale=1.0, seed=0):
    """The same form elsewhere: turned, scaled, moved."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(dim or means.shape[1], means.shape[1])))[0]
    return scale * means @ turn.T + offset


def structure_of(means, labels=None, **options):
    means = torch.as_tensor(means, dtype=torch.float64)
    relative = means - means[0]  # as ClassMeans does it: an offset common to all features cancels
    centered = relative - relative.mean(dim=0)
    labels = range(len(means)) if labels is None else labels
    return find_structure(means @ means.T, centered @ centered.T, labels, **options)


def triple(structure):
    return structure.kind, structure.name, structure.parameters


def edges_of(adjacency):
    return tuple((i, j) for i, j in itertools.combinations(range(len(adjacency)), 2) if adjacency[i, j])


# Exact forms


@pytest.mark.parametrize("num_classes", [2, 3, 4, 10, 100, 300])
def test_exact_simplex(num_classes, simplex):
    for means in (simplex(num_classes), place(simplex(num_classes), scale=1e-3, offset=1.0)):
        found = structure_of(means)
        assert triple(found) == ("simplex_etf", "simplex equiangular tight frame", None)
        assert found.nearest == "simplex_etf"
        assert found.distance == found.distances["simplex_etf"] == pytest.approx(0, abs=1e-11)
        assert found.edges is None


@pytest.mark.parametrize("num_classes", [2, 3, 4, 10, 100, 300])
def test_exact_orthogonal_frame(num_classes):
    found = structure_of(place(np.eye(num_classes), scale=30))
    assert triple(found) == ("orthogonal_frame", "orthogonal frame", None)
    assert found.nearest == "orthogonal_frame"
    assert found.distance == pytest.approx(0, abs=1e-12)
    assert found.distances["simplex_etf"] == pytest.approx(0, abs=1e-12)


def test_a_frame_that_was_moved_is_a_simplex():
    assert structure_of(place(np.eye(10), offset=3.0)).kind == "simplex_etf"


@pytest.mark.parametrize("r", [4, 5, 6, 7, 8])
def test_edges_of_a_complete_graph_are_a_triangular_graph(r):
    name = f"triangular graph T({r})"
    adjacency, parameters = NAMED[name]
    for means in (
        incidence(r),
        place(incidence(r), dim=40, scale=7),
        incidence(r) - incidence(r).mean(axis=0),  # before the ReLU, of rank r − 1
        place(incidence(r), offset=1e3, scale=100),
        place(incidence(r), scale=1e-80),
        place(incidence(r), scale=1e70),
    ):
        found = structure_of(means)
        assert triple(found) == ("strongly_regular_graph", name, as_dict(parameters))
        assert found.nearest == "strongly_regular_graph"
        assert found.distance == found.distances["strongly_regular_graph"] == pytest.approx(0, abs=1e-12)
        assert found.edges == edges_of(adjacency)
        assert min(found.distances["simplex_etf"], found.distances["orthogonal_frame"]) > 0.5


@pytest.mark.parametrize("second", [0.0, 0.5])
@each_graph
def test_exact_strongly_regular_graph(name, adjacency, parameters, second):
    found = structure_of(place(means_of(adjacency, second=second), dim=120, scale=5))
    assert triple(found) == ("strongly_regular_graph", name, as_dict(parameters))
    assert found.distance == pytest.approx(0, abs=1e-12)
    assert found.edges == (edges_of(adjacency) if len(adjacency) <= 64 else None)


def test_regular_pentagon_in_the_plane():
    turn = 2 * np.pi * np.arange(5) / 5
    found = structure_of(np.stack([np.cos(turn), np.sin(turn)], axis=1), labels=[3, 4, 7, 8, 9])
    assert triple(found) == ("strongly_regular_graph", "pentagon", as_dict((5, 2, 0, 1)))
    assert found.edges == ((3, 4), (3, 9), (4, 7), (7, 8), (8, 9))
    assert found.distance == pytest.approx(0, abs=1e-12)


def test_classes_in_groups_are_a_disjoint_union():
    found = structure_of(np.repeat(np.eye(4), 3, axis=0))
    assert triple(found) == ("strongly_regular_graph", "disjoint union 4 K_3", as_dict((12, 2, 1, 0)))
    assert found.edges == edges_of(union(4, 3))


def test_three_classes_have_no_graph():
    found = structure_of(incidence(3) @ np.diag([1.0, 2.0, 9.0]))
    assert set(found.distances) == {"orthogonal_frame", "simplex_etf"}
    assert structure_of(incidence(3)).kind == "simplex_etf"  # T(3) is complete


# Robustness


@pytest.mark.parametrize("seed", range(5))
def test_other_order_of_the_classes(seed):
    permutation = np.random.default_rng(seed).permutation(28)
    still, moved = (structure_of(means) for means in (incidence(8), incidence(8)[permutation]))
    assert triple(moved) == triple(still)
    mapped = {tuple(sorted((int(permutation[i]), int(permutation[j])))) for i, j in moved.edges}
    assert mapped == set(still.edges)
    labels = [100 + int(label) for label in permutation]
    named = structure_of(incidence(8)[permutation], labels=labels)
    assert {tuple(sorted(edge)) for edge in named.edges} == {(100 + i, 100 + j) for i, j in still.edges}


def noisier(means, seed):
    """A function: noise → class means that are off by this share of their size, in all directions, and in length."""
    generator = np.random.default_rng(seed)
    means = place(means, dim=max(means.shape), seed=seed)
    lengths, off = generator.normal(size=(len(means), 1)), generator.normal(size=means.shape)
    off *= np.linalg.norm(means) / np.linalg.norm(off)
    return lambda noise: (1 + noise / 4 * lengths) * (means + noise * off)


def at_distance(exact, adjacency, distance, seed):
    """Noise such that the class means are at this distance from the graph."""
    make, low, high = noisier(exact, seed), 0.0, 1.0
    for _ in range(25):
        noise = (low + high) / 2
        low, high = (noise, high) if distance_to_graph(make(noise), adjacency) < distance else (low, noise)
    return make(low)


@pytest.mark.parametrize("second", [0.0, 0.3, 0.5])
@each_graph
def test_noise_up_to_the_tolerance_leaves_the_name(name, adjacency, parameters, second):
    exact = means_of(adjacency, second=second)
    # Where a simplex is near, more noise than a little can make it one.
    near_simplex = structure_of(exact).distances["simplex_etf"] < 0.25
    for seed, distance in enumerate([0.01] if near_simplex else [0.01, 0.05, 0.08, 0.0999, 0.1001, 0.15]):
        found = structure_of(at_distance(exact, adjacency, distance, seed))
        if distance <= 0.1:
            assert triple(found) == ("strongly_regular_graph", name, as_dict(parameters))
            assert found.distance == pytest.approx(distance, rel=1e-4)
            assert found.edges == (edges_of(adjacency) if len(adjacency) <= 64 else None)
        else:
            assert triple(found) == ("none", None, None)
            assert found.distance > 0.1


def distance_to_graph(means, adjacency):
    """The distance to the algebra of a known graph, naively."""
    means = means - means.mean(axis=0)
    gram = means @ means.T
    size = len(gram)
    ideal = np.zeros_like(gram)
    for basis in (np.eye(size), adjacency.astype(float), complement(adjacency).astype(float)):
        ideal += basis * np.sum(gram * basis) / np.sum(basis)
    return np.linalg.norm(gram / np.linalg.norm(gram) - ideal / np.linalg.norm(ideal))


@pytest.mark.parametrize("seed", range(5))
def test_a_graph_whose_cosines_overlap_is_found_by_its_eigenvalues(seed):
    adjacency = triangular(14)
    means = at_distance(means_of(adjacency, second=0.6), adjacency, 0.095, seed)
    directions = means - means.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = directions @ directions.T
    assert cosines[adjacency].min() < cosines[complement(adjacency)].max()  # no threshold separates them
    found = structure_of(means)
    assert triple(found)[1:] == ("triangular graph T(14)", as_dict((91, 24, 12, 4)))
    assert found.distances["simplex_etf"] > 0.1


@pytest.mark.parametrize("size", [4, 5, 10, 28, 100])
@pytest.mark.parametrize("seed", range(3))
def test_random_class_means_are_none(size, seed):
    found = structure_of(np.random.default_rng(seed).normal(size=(size, max(2, size // 4))))
    assert triple(found) == ("none", None, None)
    assert found.edges is None
    assert found.distance == min(found.distances.values()) == found.distances[found.nearest] > 0.1


def test_the_tolerance_decides():
    means = noisier(incidence(6), seed=1)(0.2)
    distance = structure_of(means).distances["strongly_regular_graph"]
    assert structure_of(means, tolerance=distance).kind == "strongly_regular_graph"
    below = structure_of(means, tolerance=distance * 0.999)
    assert triple(below) == ("none", None, None)
    assert (below.nearest, below.distance) == ("strongly_regular_graph", distance)
    assert below.tolerance == distance * 0.999


@pytest.mark.parametrize(("ideal", "kind"), [(np.eye(10), "orthogonal_frame"), (np.eye(10) - 0.1, "simplex_etf")])
def test_noise_up_to_the_tolerance_leaves_frame_and_simplex(ideal, kind):
    for seed, noise in enumerate([0.01, 0.03, 0.05, 0.1, 0.2, 0.3]):
        found = structure_of(noisier(ideal, seed)(noise))
        assert found.kind == (kind if found.distances[kind] <= 0.1 else "none")


# What is undefined


def test_a_class_mean_on_the_global_mean_has_no_cosine():
    means = np.concatenate([np.eye(4), -np.eye(4), np.zeros((1, 4))])
    for offset in (0.0, 1e3):
        found = structure_of(means + offset)
        assert set(found.distances) == {"orthogonal_frame", "simplex_etf"}
        assert found.kind == "none"


@pytest.mark.parametrize(
    ("means", "code"),
    [
        (np.ones((1, 3)), "one_class"),
        (np.zeros((4, 3)), "zero_gram"),
        (np.ones((4, 3)), "identical_class_means"),
        (np.full((4, 3), np.inf), "overflow"),
    ],
)
def test_undefined(means, code):
    with pytest.raises(UndefinedMetric) as undefined:
        structure_of(means)
    assert undefined.value.code == code


def test_too_many_classes():
    gram = torch.eye(1025, dtype=torch.float64)
    with pytest.raises(UndefinedMetric) as undefined:
        find_structure(gram, gram, range(1025))
    assert undefined.value.code == "structure_too_large"


def test_what_is_reported_survives_json():
    found = structure_of(incidence(5))
    text = found.model_dump_json()
    assert '"parameters":{"v":10,"k":6,"lambda":3,"mu":4}' in text
    assert Structure.model_validate_json(text) == found
    assert structure_of(np.random.default_rng(0).normal(size=(10, 4))).model_dump(mode="json")["parameters"] is None
