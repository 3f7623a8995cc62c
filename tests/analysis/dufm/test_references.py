from dataclasses import replace
from math import comb, log

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.dufm.families.triangular import vertices_of
from analysis.dufm.model import losses
from analysis.dufm.problem import Problem
from analysis.dufm.references import dnc, lower_bound, references, srg, srg_reference, zero
from analysis.dufm.shrinkage import shrink
from analysis.dufm.solution import UndefinedReference


def make(num_classes=10, depth=4, decay=0.004, width=64, **others):
    return Problem(
        num_classes=num_classes,
        widths=(width,) * depth,
        weight_decays=(decay,) * depth,
        feature_decay=decay,
        **others,
    )


def naive_loss(problem, variables):
    """The definition, in numpy, of one run."""
    hidden = variables.features[0].numpy()
    total = problem.feature_decay / 2 * (hidden**2).sum()
    for index, weight in enumerate(variables.weights):
        linear = index == 0 or problem.activation == "linear"
        hidden = weight[0].numpy() @ (hidden if linear else np.maximum(hidden, 0))
        total += problem.weight_decays[index] / 2 * (weight[0].numpy() ** 2).sum()
    target = np.repeat(np.eye(problem.num_classes), problem.samples_per_class, axis=1)
    return total + ((hidden - target) ** 2).sum() / (2 * target.shape[1])


def naive_shrink(cost, exponent):
    """A grid, then golden-section search around its best point, with 40 digits."""
    mpmath.mp.dps = 40
    cost, exponent = mpmath.mpf(cost), mpmath.mpf(exponent)

    def g(s):
        return (1 - s) ** 2 / 2 + cost * s**exponent

    grid = np.linspace(0, 1, 20001)[1:]
    best = int(np.argmin((1 - grid) ** 2 / 2 + float(cost) * grid ** float(exponent)))
    low, high = mpmath.mpf(grid[max(best - 1, 0)]), mpmath.mpf(grid[min(best + 1, len(grid) - 1)])
    ratio = (mpmath.sqrt(5) - 1) / 2
    for _ in range(120):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if g(left) < g(right) else (left, high)
    return float(min(mpmath.mpf(1) / 2, g((low + high) / 2)))


@pytest.mark.parametrize("power", [2, 3, 4, 5, 8, 20, 65])
@pytest.mark.parametrize("cost", [1e-9, 1e-3, 0.03, 0.1, 0.2, 0.3, 0.38, 0.42, 0.45, 0.49, 0.6, 0.99, 3.0])
def test_the_scalar_problem_against_a_grid_and_golden_section(power, cost):
    s, value = shrink(cost, 2 / power)

    assert value == pytest.approx(naive_shrink(cost, 2 / power), abs=1e-14)
    assert value == pytest.approx((1 - s) ** 2 / 2 + cost * s ** (2 / power), abs=1e-15)


def test_the_scalar_problem_without_cost():
    assert shrink(0.0, 0.4) == (1.0, 0.0)


def test_where_zero_and_the_other_minimum_are_about_equal():
    for cost in np.linspace(0.40, 0.46, 61):
        assert shrink(cost, 0.4)[1] == pytest.approx(naive_shrink(cost, 0.4), abs=1e-14)


def test_the_figures_that_are_known():
    assert dnc(make()).loss == pytest.approx(0.0991799, abs=5e-8)
    assert srg(make()).loss == pytest.approx(0.080911, abs=5e-7)
    assert srg(make(depth=5)).loss == pytest.approx(0.08966, abs=5e-6)
    assert srg_reference(make()).subset_size == 3


def test_subsets_of_two_vertices_where_no_others_fit():
    """Five vertices have ten pairs, ten triples and five quadruples; six have 15 pairs and 20 triples."""
    found = srg_reference(make(num_classes=15, width=15))

    assert set(found.subset_sizes) <= {2, 4, 5}
    assert found.width <= 15
    assert found.loss > srg_reference(make(num_classes=15, width=64)).loss


@pytest.mark.parametrize("decay", [0.001, 0.004, 0.016])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("num_classes", [2, 6, 10])
def test_the_matrices_have_the_loss_that_is_reported(num_classes, depth, decay):
    problem = Problem(
        num_classes=num_classes,
        widths=tuple(range(20, 20 + depth)),
        weight_decays=tuple(decay * (index + 1) ** 2 for index in range(depth)),
        feature_decay=decay / 7,
        samples_per_class=3,
    )
    for find in (zero, dnc, srg):
        try:
            solution = find(problem)
        except UndefinedReference:
            assert find is srg
            assert depth < 3 or num_classes == 2
            continue
        variables = solution.variables
        assert [tuple(weight.shape[1:]) for weight in variables.weights] == list(problem.weight_shapes)
        assert variables.features.shape == (1, problem.widths[0], problem.num_samples)
        assert naive_loss(problem, variables) == pytest.approx(solution.loss, rel=1e-12)
        assert losses(problem, variables).loss.item() == pytest.approx(solution.loss, rel=1e-12)


@pytest.mark.parametrize("num_classes", [6, 10, 15])
def test_own_decays_samples_and_spare_neurons_change_nothing(num_classes):
    plain = make(num_classes=num_classes)
    other = Problem(
        num_classes=num_classes,
        widths=(70, 64, 90, 64),
        weight_decays=(0.004 * 8, 0.004 / 4, 0.004 / 2, 0.004),
        feature_decay=0.004 / 5,
        samples_per_class=5,
    )

    assert references(other).dnc == pytest.approx(references(plain).dnc, rel=1e-12)
    assert references(other).lower_bound == pytest.approx(references(plain).lower_bound, rel=1e-12)
    assert references(other).srg.loss == pytest.approx(references(plain).srg.loss, abs=1e-9)


@pytest.mark.parametrize("decay", [1e-5, 0.001, 0.016, 0.1, 10.0])
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_the_order_of_the_bound_and_the_solutions(depth, decay):
    for num_classes in (2, 3, 5, 30, 400):
        problem = make(num_classes=num_classes, depth=depth, decay=decay, width=400)
        assert 0 < lower_bound(problem) <= dnc(problem).loss <= zero(problem).loss == 0.5
    if depth >= 3:
        problem = make(num_classes=6, depth=depth, decay=decay)
        assert lower_bound(problem) < srg(problem).loss + 1e-15 <= 0.5 + 1e-15


def test_deep_neural_collapse_is_the_optimum_where_that_is_proved():
    """K = 2 at any depth, and depth 1 and 2 at any K: nothing here may lie below."""
    for depth in (1, 2, 3, 6):
        for decay in (0.001, 0.016, 0.1):
            found = references(make(num_classes=2, depth=depth, decay=decay))
            assert found.srg is None
    for num_classes in (6, 10):
        for depth in (1, 2):
            assert references(make(num_classes=num_classes, depth=depth)).srg is None


@pytest.mark.parametrize(("num_classes", "depth", "decay"), [(2, 1, 0.01), (3, 2, 0.01), (2, 3, 0.02)])
def test_free_minimisation_ends_at_deep_neural_collapse_where_it_is_the_optimum(num_classes, depth, decay):
    shapes = [(num_classes, num_classes)] * (depth + 1)

    def loss(flat):
        matrices = np.split(flat, depth + 1)
        hidden = matrices[0].reshape(shapes[0])
        for index, weight in enumerate(matrices[1:]):
            hidden = weight.reshape(shapes[0]) @ (hidden if index == 0 else np.maximum(hidden, 0))
        return ((hidden - np.eye(num_classes)) ** 2).sum() / (2 * num_classes) + decay / 2 * flat @ flat

    generator = np.random.default_rng(0)
    size = (depth + 1) * num_classes**2
    start = np.tile(np.eye(num_classes).ravel(), depth + 1)
    found = [minimize(loss, start + 0.3 * generator.standard_normal(size)).fun for _ in range(8)]

    assert min(found) == pytest.approx(dnc(make(num_classes, depth, decay)).loss, abs=1e-6)


@pytest.mark.parametrize("width", [1, 2, 4, 9])
def test_the_bound_of_linear_models_is_attained_at_any_width(width):
    problem = make(num_classes=4, depth=3, decay=0.01, width=width, activation="linear")
    s, _ = shrink(4 * 4 / 2 * 0.01, 2 / 4)
    frame = np.diag(s**0.25 * (np.arange(4) < width))
    by_hand = ((frame @ frame @ frame @ frame - np.eye(4)) ** 2).sum() / 8 + 4 * 0.01 / 2 * (frame**2).sum()

    assert lower_bound(problem) == pytest.approx(by_hand, rel=1e-12)
    if width >= 4:
        assert dnc(problem).loss == pytest.approx(lower_bound(problem), rel=1e-12)
        assert naive_loss(problem, dnc(problem).variables) == pytest.approx(dnc(problem).loss, rel=1e-12)


def test_no_random_network_lies_below_the_bound():
    generator = np.random.default_rng(0)
    for _ in range(200):
        num_classes, depth = int(generator.integers(2, 5)), int(generator.integers(1, 5))
        decay = 10 ** generator.uniform(-4, -1)
        matrices = [generator.standard_normal((num_classes, num_classes)) for _ in range(depth + 1)]
        mix = generator.uniform()
        matrices = [mix * np.eye(num_classes) + (1 - mix) * matrix for matrix in matrices]
        hidden = matrices[0]
        for index, weight in enumerate(matrices[1:]):
            hidden = weight @ (hidden if index == 0 else np.maximum(hidden, 0))
        loss = ((hidden - np.eye(num_classes)) ** 2).sum() / (2 * num_classes)
        loss += decay / 2 * sum((matrix**2).sum() for matrix in matrices)
        assert loss >= lower_bound(make(num_classes, depth, decay))


def test_strong_regularisation_leaves_zero_and_nothing_pretends_otherwise():
    problem = make(decay=1.0)

    assert dnc(problem).loss == srg(problem).loss == lower_bound(problem) == 0.5
    assert dnc(problem).rank == srg(problem).rank == 0
    assert srg_reference(problem).subset_sizes == ()
    assert srg_reference(problem).subset_size is None
    for solution in (dnc(problem), srg(problem), zero(problem)):
        assert not any(bool(tensor.any()) for tensor in solution.variables.tensors)


def test_weak_regularisation_costs_its_first_order():
    """g(s) ≈ c at s = 1 for c → 0."""
    assert dnc(make(decay=1e-12)).loss == pytest.approx(10 * 5 / 2 * 1e-12, rel=1e-6)


def test_what_is_undefined_has_a_reason():
    def reasons(**parameters):
        found = references(make(**parameters))
        for name in ("zero", "dnc", "srg", "best_known", "lower_bound"):
            assert (getattr(found, name) is None) == (name in found.reasons)
        return found.reasons

    assert "10 neurons" in reasons(width=9)["dnc"]
    assert "vertices" in reasons(width=4)["srg"]
    assert "r(r−1)/2" in reasons(num_classes=11)["srg"]
    assert "r(r−1)/2" in reasons(num_classes=3)["srg"]
    assert "at least 3" in reasons(depth=2)["srg"]
    assert set(reasons(loss="cross_entropy")) == {"dnc", "srg", "best_known", "lower_bound"}
    assert set(reasons(activation="linear")) == {"srg", "best_known"}
    assert "catalogue" in reasons(decay=0.0123)["best_known"]
    assert "infimum" in reasons(decay=0.0)["dnc"]


def test_without_a_decay_zero_and_the_infimum_are_left():
    problem = replace(make(), feature_decay=0.0)

    assert references(problem).zero == 0.5
    assert references(problem).lower_bound == 0.0
    assert references(problem).dnc is references(problem).srg is None


def test_zero_with_cross_entropy_is_a_guess_among_all_classes():
    problem = make(num_classes=7, loss="cross_entropy")

    assert references(problem).zero == pytest.approx(log(7))
    assert losses(problem, zero(problem).variables).loss.item() == pytest.approx(log(7), rel=1e-12)


def test_zero_needs_no_decay():
    problem = make(decay=0.0)

    assert losses(problem, zero(problem).variables).loss.item() == 0.5


def test_triangular_numbers_are_known_and_no_others():
    triangular = {comb(vertices, 2): vertices for vertices in range(2, 60)}

    assert [vertices_of(number) for number in range(1, 1001)] == [triangular.get(number) for number in range(1, 1001)]


def test_the_largest_models_have_references():
    found = references(make(num_classes=1000, depth=64, decay=1e-7, width=4096))

    assert found.lower_bound < found.dnc < 0.01


@pytest.mark.parametrize(("num_classes", "width"), [(45, 300), (105, 500)])
def test_many_classes(num_classes, width):
    problem = make(num_classes=num_classes, decay=0.001, width=width)

    assert lower_bound(problem) < srg(problem).loss < dnc(problem).loss
    assert naive_loss(problem, srg(problem).variables) == pytest.approx(srg(problem).loss, rel=1e-12)
