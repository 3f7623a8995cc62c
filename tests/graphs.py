"""Strongly regular graphs, as sets of vertices and a rule: nothing here comes from the package."""

import itertools

import numpy as np
import pytest


def graph(vertices, adjacent):
    vertices = list(vertices)
    return np.array([[x != y and bool(adjacent(x, y)) for y in vertices] for x in vertices])


def triangular(r):
    return graph(itertools.combinations(range(r), 2), lambda x, y: set(x) & set(y))


def rook(a):
    return graph(itertools.product(range(a), repeat=2), lambda x, y: x[0] == y[0] or x[1] == y[1])


def shrikhande():
    steps = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
    return graph(itertools.product(range(4), repeat=2), lambda x, y: ((x[0] - y[0]) % 4, (x[1] - y[1]) % 4) in steps)


def paley(q):
    squares = {x * x % q for x in range(1, q)}
    return graph(range(q), lambda x, y: (x - y) % q in squares)


def clebsch():
    return graph(range(16), lambda x, y: (x ^ y).bit_count() == 1 or x ^ y == 15)


def union(count, size):
    return graph(range(count * size), lambda x, y: x // size == y // size)


def complement(adjacency):
    return ~adjacency & ~np.eye(len(adjacency), dtype=bool)


def chang(edges):
    """Seidel switching of T(8) at the edges of a graph on 8 vertices."""
    switched = np.array([set(pair) in edges for pair in itertools.combinations(range(8), 2)])
    switched = switched[:, None] ^ switched
    return (triangular(8) ^ switched) & ~np.eye(28, dtype=bool)


CHANG_GRAPHS = [
    chang([{i, i + 4} for i in range(4)]),  # 4 K_2
    chang([{i, (i + 1) % 8} for i in range(8)]),  # C_8
    chang([{0, 1}, {1, 2}, {2, 0}, *({3 + i, 3 + (i + 1) % 5} for i in range(5))]),  # C_3 + C_5
]

NAMED = {
    "triangular graph T(4)": (triangular(4), (6, 4, 2, 4)),
    "triangular graph T(5)": (triangular(5), (10, 6, 3, 4)),
    "triangular graph T(6)": (triangular(6), (15, 8, 4, 4)),
    "triangular graph T(7)": (triangular(7), (21, 10, 5, 4)),
    "triangular graph T(8)": (triangular(8), (28, 12, 6, 4)),
    "triangular graph T(9)": (triangular(9), (36, 14, 7, 4)),
    "Petersen graph, the complement of the triangular graph T(5)": (complement(triangular(5)), (10, 3, 0, 1)),
    "complement of the triangular graph T(6)": (complement(triangular(6)), (15, 6, 1, 3)),
    "complement of the triangular graph T(8)": (complement(triangular(8)), (28, 15, 6, 10)),
    "rook's graph 3 × 3": (rook(3), (9, 4, 1, 2)),
    "rook's graph 4 × 4": (rook(4), (16, 6, 2, 2)),
    "rook's graph 5 × 5": (rook(5), (25, 8, 3, 2)),
    "complement of the rook's graph 4 × 4": (complement(rook(4)), (16, 9, 4, 6)),
    "Shrikhande graph": (shrikhande(), (16, 6, 2, 2)),
    "complement of the Shrikhande graph": (complement(shrikhande()), (16, 9, 4, 6)),
    "Chang graph": (CHANG_GRAPHS[0], (28, 12, 6, 4)),
    "complement of a Chang graph": (complement(CHANG_GRAPHS[1]), (28, 15, 6, 10)),
    "pentagon": (paley(5), (5, 2, 0, 1)),
    "Paley graph of order 13": (paley(13), (13, 6, 2, 3)),
    "Paley graph of order 17": (paley(17), (17, 8, 3, 4)),
    "strongly regular graph (29, 14, 6, 7)": (paley(29), (29, 14, 6, 7)),
    "Clebsch graph": (clebsch(), (16, 5, 0, 2)),
    "complement of the Clebsch graph": (complement(clebsch()), (16, 10, 6, 6)),
    "disjoint union 2 K_2": (union(2, 2), (4, 1, 0, 0)),
    "disjoint union 3 K_2": (union(3, 2), (6, 1, 0, 0)),
    "disjoint union 5 K_2": (union(5, 2), (10, 1, 0, 0)),
    "disjoint union 2 K_5": (union(2, 5), (10, 4, 3, 0)),
    "disjoint union 20 K_5": (union(20, 5), (100, 4, 3, 0)),
    "complete bipartite graph K_{2,2}": (complement(union(2, 2)), (4, 2, 0, 2)),
    "complete multipartite graph K_{3,3,3}": (complement(union(3, 3)), (9, 6, 3, 6)),
    "complete multipartite graph K_{5×2}": (complement(union(5, 2)), (10, 8, 6, 8)),
}
each_graph = pytest.mark.parametrize(
    ("name", "adjacency", "parameters"), [(n, *a) for n, a in NAMED.items()], ids=NAMED
)


def as_dict(parameters):
    return dict(zip(("v", "k", "lambda", "mu"), parameters, strict=True))
