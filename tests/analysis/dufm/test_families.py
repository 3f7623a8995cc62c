from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.dufm.families.equivariant import Equivariant
from analysis.dufm.families.minimum import begin, descend, polish
from analysis.dufm.families.network import Network, trim, zero_network
from analysis.dufm.families.registry import FAMILIES, families
from analysis.dufm.families.set_systems import SetSystem, all_sizes, count, subsets
from analysis.dufm.families.stretched import Stretched
from analysis.dufm.families.triangular import best_triangular
from analysis.dufm.model import losses
from analysis.dufm.problem import Problem
from analysis.dufm.references import dnc, references, solutions, srg

SYSTEMS = [
    SetSystem((4,), ((2,),), ((2,), (3,))),
    SetSystem((3,), ((1,), (2,), (3,)), ((1,), (2,), (3,))),
    SetSystem((1, 3), ((0, 1), (1, 1), (0, 3)), ((0, 2), (1, 1), (1, 3))),
    SetSystem((2, 2), ((1, 1),), ((1, 0), (0, 1), (1, 1), (2, 1))),
]


def make(num_classes=10, depth=4, decay=0.004, width=64, **others):
    return Problem(
        num_classes=num_classes,
        widths=(width,) * depth,
        weight_decays=(decay,) * depth,
        feature_decay=decay,
        **others,
    )


def naive_loss(matrices, decay):
    """The definition at n = 1."""
    hidden = matrices[0]
    for index, weight in enumerate(matrices[1:]):
        hidden = weight @ (hidden if index == 0 else np.maximum(hidden, 0))
    squares = sum((matrix**2).sum() for matrix in matrices)
    return ((hidden - np.eye(len(hidden))) ** 2).sum() / (2 * len(hidden)) + decay / 2 * squares


def naive_loss_of(network, decay):
    return naive_loss([network.features, *network.weights], decay)


def group(parts):
    """Every permutation of the elements that keeps the parts."""
    begins = np.cumsum((0, *parts[:-1]))
    ranges = [range(begin, begin + part) for begin, part in zip(begins, parts, strict=True)]
    return [sum(choice, ()) for choice in product(*(list(permutations(each)) for each in ranges))]


def moved(rows, permutation):
    """Where each subset goes: element e becomes permutation[e]."""
    index = {tuple(row): position for position, row in enumerate(rows)}
    inverse = np.argsort(permutation)
    return [index[tuple(row[inverse])] for row in rows]


@pytest.mark.parametrize("system", SYSTEMS)
def test_entries_have_the_same_label_exactly_where_the_group_takes_one_to_the_other(system):
    classes, neurons = subsets(system.parts, system.classes), subsets(system.parts, system.neurons)
    labels = system.relation(neurons, classes)
    actions = [(moved(neurons, each), moved(classes, each)) for each in group(system.parts)]

    assert sorted(set(labels.ravel().tolist())) == list(range(labels.max() + 1))
    for row, column in product(range(len(neurons)), range(len(classes))):
        orbit = {(rows[row], columns[column]) for rows, columns in actions}
        assert orbit == set(map(tuple, np.argwhere(labels == labels[row, column]).tolist()))


def test_subsets_are_counted_and_listed():
    parts, orbits = (2, 4), [(1, 2), (0, 3), (2, 0)]
    naive = [
        (*left, *right)
        for first, second in orbits
        for left in combinations((0, 1), first)
        for right in combinations((2, 3, 4, 5), second)
    ]

    assert [tuple(np.flatnonzero(row)) for row in subsets(parts, orbits)] == naive
    assert count(parts, orbits) == len(naive)
    assert count((3,), all_sizes((3,), most=7)) == 7
    assert count((3,), all_sizes((3,), most=6)) == 4


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("depth", [3, 5])
def test_the_reduced_loss_is_that_of_the_matrices_and_its_gradient_the_differences(system, depth):
    problem = Equivariant(system.symmetry(depth), 0.01)
    generator = np.random.default_rng(0)
    point = generator.standard_normal(sum(map(len, problem.sizes)))

    loss, gradient = problem.value_and_gradient(point)

    assert loss == pytest.approx(naive_loss(problem.matrices(point), 0.01), rel=1e-12)
    np.testing.assert_allclose(problem.project(problem.matrices(point)), point, rtol=1e-12, atol=1e-14)
    for index in generator.choice(len(point), 8, replace=False):
        step = np.zeros_like(point)
        step[index] = 1e-6
        after, before = (problem.value_and_gradient(point + sign * step)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((after - before) / 2e-6, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("system", SYSTEMS)
def test_pre_activations_and_their_derivatives_are_those_of_the_matrices(system):
    problem = Equivariant(system.symmetry(4), 0.01)
    point = np.random.default_rng(1).standard_normal(sum(map(len, problem.sizes)))
    pattern = problem.pattern(point)
    values, derivatives = problem.pre_activations(point, pattern)

    network = Network.of(problem, point)
    for labels, hidden in zip(problem.symmetry.activations, network.pre_activations[:-1], strict=False):
        size = labels.max() + 1
        np.testing.assert_allclose(values[:size][labels], hidden, rtol=1e-10, atol=1e-12)
        values = values[size:]
    step = 1e-6 * np.random.default_rng(2).standard_normal(len(point))
    after, before = (problem.pre_activations(point + sign * step, pattern)[0] for sign in (1, -1))
    np.testing.assert_allclose(derivatives @ step, (after - before) / 2, rtol=1e-5, atol=1e-9)


def scalars_to_matrices(scalars, vertices, size, depth):
    """The strongly regular graph's matrices, entry by entry, from two or three numbers each."""
    edges = list(combinations(range(vertices), 2))
    sets = list(combinations(range(vertices), size))
    layers = [[(vertex,) for vertex in range(vertices)]] * (depth - 1) + [sets, edges]
    scalars, matrices = list(scalars), []
    for rows, columns in zip([layers[0], *layers[1:]], [edges, *layers[:-1]], strict=True):
        values = {common: scalars.pop() for common in sorted({len({*r} & {*c}) for r in rows for c in columns})}
        matrices.append(np.array([[values[len({*r} & {*c})] for c in columns] for r in rows]))
    assert not scalars
    return matrices


@pytest.mark.parametrize(("vertices", "size", "depth", "decay"), [(5, 3, 3, 0.002), (5, 3, 4, 0.004)])
def test_the_strongly_regular_graph_against_free_minimisation_over_its_scalars(vertices, size, depth, decay):
    """An independent parametrisation with random starts, and numerical gradients: no lower, and about as low."""
    known = naive_loss_of(best_triangular(vertices, depth, decay, 64).network, decay)

    def loss(scalars):
        return naive_loss(scalars_to_matrices(scalars, vertices, size, depth), decay)

    # By layer, of an entry for each size of the intersection: features, carried on, subsets, and the decoder.
    guess = [0.0, 0.6, *[-0.05, 0.7] * (depth - 2), -0.7, 0.6, 0.1, -0.3, 0.5]
    generator = np.random.default_rng(0)
    found = []
    for _ in range(4):
        start = np.array(guess[::-1]) * (1 + 0.2 * generator.standard_normal(len(guess)))
        for _ in range(3):  # at a kink a quasi-Newton method stalls: begin again with a fresh curvature
            start = minimize(loss, start + 1e-3 * generator.standard_normal(len(guess)), method="BFGS").x
        found.append(loss(start))

    assert known - 1e-9 <= min(found) <= known * 1.01


@pytest.mark.parametrize(("core_depth", "repeats"), [(3, 0), (3, 2), (4, 1), (4, 5)])
def test_a_stretched_network_has_the_loss_of_its_matrices_and_its_gradient_the_differences(core_depth, repeats):
    system = SetSystem((5,), ((2,),), ((3,),))
    problem = Stretched(Equivariant(system.symmetry(core_depth), 0.004), repeats)
    point = problem.begin(system.starts()[0])
    point = point + 0.05 * np.random.default_rng(0).standard_normal(len(point))

    loss, gradient = problem.value_and_gradient(point)

    assert len(problem.network(point).weights) == core_depth + repeats
    assert loss == pytest.approx(naive_loss_of(problem.network(point), 0.004), rel=1e-12)
    for index, step in enumerate(1e-6 * np.eye(len(point))):
        after, before = (problem.value_and_gradient(point + sign * step)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((after - before) / 2e-6, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("vertices", "depth", "decay"), [(5, 7, 0.004), (4, 9, 0.016), (6, 5, 0.016), (14, 5, 0.003)])
def test_no_layer_of_a_deep_strongly_regular_graph_is_better_free(vertices, depth, decay):
    """With 14 vertices the ReLU of the first layers cuts nothing, and stretching alone gives 0.3526."""
    found = best_triangular(vertices, depth, decay, 400)
    system = SetSystem((vertices,), ((2,),), tuple((size,) for size in found.subset_sizes))
    problem = Equivariant(system.symmetry(depth), decay)
    free = [polish(problem, descend(problem, begin(problem, start)))[1] for start in system.starts()]

    assert naive_loss_of(found.network, decay) == pytest.approx(found.loss, rel=1e-12)
    assert found.loss <= min(free) + 1e-9


@pytest.mark.parametrize(("vertices", "depth"), [(5, 4), (4, 5), (5, 3)])
def test_small_moves_of_the_scalars_do_not_improve_the_strongly_regular_graph(vertices, depth):
    found = best_triangular(vertices, depth, 0.004, 64)
    system = SetSystem((vertices,), ((2,),), tuple((size,) for size in found.subset_sizes))
    problem = Equivariant(system.symmetry(depth), 0.004)
    point, loss = polish(problem, begin(problem, system.starts()[0]))
    generator = np.random.default_rng(0)

    assert loss == pytest.approx(found.loss, abs=1e-9)
    for scale in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        for _ in range(100):
            assert problem.value_and_gradient(point + scale * generator.standard_normal(len(point)))[0] > loss - 1e-11


def test_free_minimisation_from_near_the_strongly_regular_graph_comes_back():
    """K = 10, L = 4, λ̄ = 0.004, where it is the best known of all."""
    network = best_triangular(5, 4, 0.004, 64).network
    shapes = [matrix.shape for matrix in (network.features, *network.weights)]
    cuts = np.cumsum([rows * columns for rows, columns in shapes])[:-1]

    def loss_and_gradient(flat):
        matrices = [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]
        inputs, hidden = [matrices[0]], []
        for index, weight in enumerate(matrices[1:]):
            hidden.append(weight @ inputs[-1])
            inputs.append(np.maximum(hidden[-1], 0) if index < 3 else hidden[-1])
        back, gradients = (hidden[-1] - np.eye(10)) / 10, []
        for index in (3, 2, 1, 0):
            gradients.insert(0, back @ inputs[index].T)
            back = matrices[index + 1].T @ back
            back = back * (hidden[index - 1] > 0) if index else back
        gradient = np.concatenate([part.ravel() for part in (back, *gradients)]) + 0.004 * flat
        return naive_loss(matrices, 0.004), gradient

    exact = np.concatenate([matrix.ravel() for matrix in (network.features, *network.weights)])
    generator = np.random.default_rng(0)
    for scale in (1e-3, 1e-2):
        found = minimize(
            loss_and_gradient,
            exact + scale * generator.standard_normal(len(exact)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 3000, "maxfun": 6000},
        ).fun
        assert naive_loss_of(network, 0.004) - 1e-8 < found < naive_loss_of(network, 0.004) + 1e-3


@pytest.mark.parametrize(
    ("num_classes", "depth", "family"), [(10, 5, "simplex"), (5, 5, "pyramid"), (9, 7, "double_pyramid")]
)
def test_each_family_has_a_cell_where_it_is_the_best_reference(num_classes, depth, family):
    found = references(make(num_classes, depth), with_families=True)
    best = min(found.families, key=lambda each: each.loss)

    assert best.family == family
    assert best.loss < min(found.dnc, found.srg.loss if found.srg else 0.5)
    assert best.rank < num_classes
    assert found.lower_bound < best.loss


def test_every_family_is_tried_above():
    assert set(FAMILIES) == {"simplex", "pyramid", "double_pyramid"}


def test_ten_classes_five_layers_have_a_solution_of_rank_four():
    """A search of all networks has found 0.08787 here, of rank 4."""
    best = families(make(depth=5))[0]

    assert (best.name, best.rank, best.widths[:4]) == ("simplex", 4, (4, 4, 4, 4))
    assert best.loss == pytest.approx(0.0879325, abs=1e-6)


@pytest.mark.parametrize(("num_classes", "depth"), [(4, 5), (5, 4), (7, 6), (9, 4), (12, 3)])
def test_the_matrices_of_families_have_the_loss_that_is_reported(num_classes, depth):
    problem = Problem(
        num_classes=num_classes,
        widths=tuple(range(64, 64 + depth)),
        weight_decays=tuple(0.004 * 2.0 ** (index - depth // 2) for index in range(depth)),
        feature_decay=0.002,
        samples_per_class=5,
    )
    found = families(problem)

    assert found
    for solution in found:
        assert losses(problem, solution.variables).loss.item() == pytest.approx(solution.loss, rel=1e-12)
        reduced = solution.build()
        matrices = [reduced.features[0].numpy(), *(weight[0].numpy() for weight in reduced.weights)]
        assert naive_loss(matrices, problem.effective_decay) == pytest.approx(solution.loss, rel=1e-12)
        assert tuple(weight.shape[1] for weight in matrices[1:]) == solution.widths
        hidden = matrices[1] @ matrices[0]
        for weight in matrices[2:-1]:
            hidden = weight @ np.maximum(hidden, 0)
        assert np.linalg.matrix_rank(hidden, tol=1e-3 * np.linalg.norm(hidden, 2)) == solution.rank


def test_nothing_lies_below_deep_neural_collapse_where_that_is_the_optimum():
    for problem in (make(2, 5), make(10, 2), make(6, 1), make(2, 3, decay=0.03)):
        assert families(problem) == ()
        assert min(solution.loss for solution in solutions(problem)) == dnc(problem).loss


@pytest.mark.parametrize(
    "others", [{"loss": "cross_entropy"}, {"activation": "linear"}, {"decay": 0.0}, {"decay": 1.0}, {"width": 2}]
)
def test_there_are_no_families_where_they_have_no_solution(others):
    assert families(make(**others)) == ()


def test_only_what_fits_counts():
    narrow = make(6, 5, width=5)

    assert all(max(solution.widths) <= 5 for solution in families(narrow))
    assert dnc(make(6, 5)).loss > families(make(6, 5))[0].loss


def test_trimming_keeps_the_function_and_removes_idle_neurons():
    generator = np.random.default_rng(0)
    network = best_triangular(4, 3, 0.002, 64).network
    turn = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    wide = Network(
        turn[:, : network.widths[0]] @ network.features,
        (
            np.pad(network.weights[0] @ turn[:, : network.widths[0]].T, ((0, 2), (0, 0))),
            np.pad(network.weights[1], ((0, 0), (0, 2))),
            network.weights[2],
        ),
    )

    trimmed, alive = trim(wide, 0.002)

    assert alive.all()
    assert trimmed.widths == network.widths
    assert trimmed.loss(0.002) == pytest.approx(network.loss(0.002), rel=1e-12)


def test_a_network_that_is_no_better_than_zero_loses_all_neurons():
    generator = np.random.default_rng(0)
    useless = Network(generator.standard_normal((2, 3)), (generator.standard_normal((3, 2)),))

    trimmed, alive = trim(useless, 1.0)

    assert trimmed.widths == zero_network(3, 1).widths == (0,)
    assert not alive.any()
    assert trimmed.loss(1.0) == 0.5


def test_relabelled_classes_are_the_same_solution():
    """The loss does not depend on the order of classes, as the target does not."""
    solution = srg(make()).build()
    order = np.random.default_rng(0).permutation(10)
    matrices = [solution.features[0].numpy()[:, order], *(weight[0].numpy() for weight in solution.weights)]
    matrices[-1] = matrices[-1][order]

    assert naive_loss(matrices, 0.004) == pytest.approx(srg(make()).loss, rel=1e-12)
