"""The parts of the search, each against what it must be."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.dufm.model import Variables, losses_and_gradients
from analysis.dufm.problem import Problem
from analysis.dufm.references import srg
from analysis.dufm.search.neurons import living_widths, merge_parallel, resize
from analysis.dufm.search.newton import OutOfTime, polish
from analysis.dufm.search.objective import Objective, smooth_relu
from analysis.dufm.search.pool import Pool
from analysis.dufm.search.quasi_newton import minimise
from analysis.dufm.search.starts import WAYS, disturb, random_starts, start_ranks
from analysis.dufm.search.stationarity import check_stationarity


def reduced(num_classes, widths, decay=0.01):
    return Problem(num_classes=num_classes, widths=widths, weight_decays=(decay,) * len(widths), feature_decay=decay)


def random_flat(objective, runs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(runs, sum(objective.sizes), generator=generator, dtype=torch.float64)


def diagonal(num_classes, depth, decay):
    """The DNC solution, every matrix c·I, c found by bisection of the derivative of its loss, a scalar function."""
    low, high = 0.5, 1.0  # above the maximum between zero and the solution
    for _ in range(200):
        s = (low + high) / 2
        slope = -(1 - s) + num_classes * decay * s ** (2 / (depth + 1) - 1)
        low, high = (s, high) if slope < 0 else (low, s)
    eye = low ** (1 / (depth + 1)) * torch.eye(num_classes, dtype=torch.float64)[None]
    loss = 0.5 * (1 - low) ** 2 + num_classes * (depth + 1) / 2 * decay * low ** (2 / (depth + 1))
    return Variables(eye, (eye,) * depth), loss


PROBLEMS = [reduced(3, (4,)), reduced(4, (5, 3)), reduced(5, (4, 6, 3)), reduced(3, (2, 3, 4, 5, 6))]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"L={problem.depth}")
def test_without_smoothing_it_is_the_loss_of_the_model(problem):
    objective = Objective(problem)
    flat = random_flat(objective, 3)
    value, gradient = objective.value_and_gradient(flat, smoothing=0)
    expected, expected_gradient = losses_and_gradients(problem, objective.variables(flat))
    torch.testing.assert_close(value, expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, objective.flatten(expected_gradient), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"L={problem.depth}")
def test_the_gradient_and_the_hessian_are_those_of_differences(problem):
    objective = Objective(problem)
    flat = random_flat(objective, 1)
    steps = 1e-6 * torch.eye(flat.shape[1], dtype=torch.float64)
    above, gradients_above = objective.value_and_gradient(flat + steps, smoothing=0.3)
    below, gradients_below = objective.value_and_gradient(flat - steps, smoothing=0.3)
    _, gradient = objective.value_and_gradient(flat, smoothing=0.3)
    torch.testing.assert_close(gradient[0], (above - below) / 2e-6, rtol=1e-5, atol=1e-7)
    hessian = objective.hessian(flat, smoothing=0.3)
    torch.testing.assert_close(hessian, (gradients_above - gradients_below) / 2e-6, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(hessian, hessian.mT, rtol=0, atol=1e-12)


@given(st.floats(-3, 3), st.floats(1e-6, 1))
def test_the_smoothed_relu_lies_above_the_relu_by_a_quarter_at_most(value, smoothing):
    activation, slope = smooth_relu(torch.tensor([value], dtype=torch.float64), smoothing)
    assert -1e-15 <= activation.item() - max(value, 0) <= smoothing / 4 + 1e-15
    assert 0 <= slope.item() <= 1


def test_the_search_refuses_a_problem_that_is_not_reduced():
    with pytest.raises(ValueError, match="reduced"):
        Objective(replace(reduced(3, (4,)), samples_per_class=2))


def quadratics(runs, size):
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(runs, size, size, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(size, dtype=torch.float64)
    target = torch.randn(runs, size, generator=generator, dtype=torch.float64)
    return matrix, target


def test_quasi_newton_solves_quadratics_each_as_if_it_were_alone():
    matrix, target = quadratics(5, 12)

    def of(chosen):
        """Rows of a batch in any order and number: told apart by a tag that the gradient does not move."""

        def function(flat):
            tags = flat[:, -1].round().long()
            offset = flat[:, :-1] - target[tags]
            gradient = (matrix[tags] @ offset[:, :, None])[:, :, 0]
            return (offset * gradient).sum(1) / 2, torch.cat([gradient, torch.zeros_like(gradient[:, :1])], 1)

        start = torch.zeros(len(chosen), 13, dtype=torch.float64)
        start[:, -1] = torch.tensor(chosen, dtype=torch.float64)
        return minimise(function, start, steps=400, tolerance=1e-12, tick=lambda: None)

    together = of([0, 1, 2, 3, 4])
    torch.testing.assert_close(together[:, :-1], target, rtol=1e-6, atol=1e-6)
    alone = torch.cat([of([index]) for index in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-7)


def test_quasi_newton_never_rises_across_kinks_and_hears_the_tick():
    ticks = []
    objective = Objective(reduced(5, (4, 6, 3)))
    flat = random_flat(objective, 6)
    before, _ = objective.value_and_gradient(flat, smoothing=0)
    for _ in range(10):
        flat = minimise(
            lambda x: objective.value_and_gradient(x, smoothing=0),
            flat,
            steps=7,
            tolerance=0.0,
            tick=lambda: ticks.append(1),
        )
        after, _ = objective.value_and_gradient(flat, smoothing=0)
        assert (after <= before).all()
        before = after
    assert len(ticks) >= 10


def test_what_the_tick_raises_comes_out():
    objective = Objective(reduced(3, (4, 4)))

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        minimise(
            lambda x: objective.value_and_gradient(x, smoothing=0),
            random_flat(objective, 2),
            steps=100,
            tolerance=0.0,
            tick=stop,
        )


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"L={problem.depth}")
def test_starts_are_as_many_as_asked_for_and_the_same_again(problem):
    objective = Objective(problem)
    first = random_starts(objective, 5, torch.Generator().manual_seed(3))
    assert first.shape == (5, sum(objective.sizes))
    assert torch.isfinite(first).all()
    assert len(first.unique(dim=0)) == 5
    torch.testing.assert_close(first, random_starts(objective, 5, torch.Generator().manual_seed(3)), rtol=0, atol=0)


def test_ranks_to_begin_from_go_up_to_those_of_three_layers():
    assert start_ranks(reduced(10, (20, 20))) == start_ranks(reduced(10, (20,))) == [None]
    assert start_ranks(reduced(10, (20, 20, 20))) == [None, 2, 3, 4, 5]
    assert start_ranks(reduced(2, (8,) * 5)) == [None, 2]


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_starts_of_a_rank_carry_so_many_features(rank):
    objective = Objective(reduced(9, (8, 8, 8, 18)))
    features, *weights = objective.split(random_starts(objective, 6, torch.Generator().manual_seed(3), rank=rank))
    hidden = features
    for weight in weights[:2]:
        hidden = torch.bmm(weight, hidden)
    singular_values = torch.linalg.svdvals(hidden)
    assert (singular_values[:, rank - 1] > 3 * singular_values[:, rank]).all()


def test_starts_have_no_more_rank_than_their_layers_are_wide():
    objective = Objective(reduced(9, (2, 8, 18)))
    wider, widest = (random_starts(objective, 2, torch.Generator().manual_seed(3), rank=rank) for rank in (2, 6))
    assert torch.equal(wider, widest)


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("problem", [reduced(2, (2,)), *PROBLEMS], ids=lambda problem: f"L={problem.depth}")
def test_a_disturbed_solution_is_near_and_not_the_same(problem, way):
    objective = Objective(problem)
    flat = random_starts(objective, 4, torch.Generator().manual_seed(3))
    kept = flat.clone()
    moved = disturb(objective, flat, torch.Generator().manual_seed(4), way=way)
    assert torch.equal(flat, kept)
    distance = (moved - flat).norm(dim=1) / flat.norm(dim=1)
    assert (distance > 1e-3).all()
    assert (distance < 3).all()


def test_layers_are_made_wider_and_narrower_without_a_change():
    objective = Objective(reduced(4, (5, 3, 6)))
    flat = random_flat(objective, 1)
    variables = objective.variables(flat)
    wide = resize(variables, (7, 9, 6))
    assert [tensor.shape[1] for tensor in wide.tensors] == [7, 9, 6, 4]
    assert living_widths(wide) == (5, 3, 6)
    back = resize(wide, (5, 3, 6))
    torch.testing.assert_close(objective.flatten(back), flat, rtol=0, atol=0)
    assert resize(variables, (5, 2, 6)) is None


def test_split_neurons_are_merged_without_a_change_of_the_output_and_a_lower_norm():
    objective = Objective(reduced(4, (5, 3, 2)))
    features, *weights = objective.variables(random_flat(objective, 1)).tensors
    share = torch.tensor([0.3, 0.7], dtype=torch.float64)
    split_in = torch.cat([weights[1][:, :1], weights[1][:, :1] * 2, weights[1][:, 1:]], dim=1)
    split_out = torch.cat(
        [weights[2][:, :, :1] * share[0], weights[2][:, :, :1] * share[1] / 2, weights[2][:, :, 1:]], 2
    )
    split = Variables(features, (weights[0], split_in, split_out))
    merged = resize(merge_parallel(split), (5, 3, 2))
    for variables in (split, merged):
        hidden = variables.weights[0] @ variables.features
        for weight in variables.weights[1:]:
            hidden = weight @ hidden.relu()
        expected = weights[2] @ (weights[1] @ (weights[0] @ features).relu()).relu()
        torch.testing.assert_close(hidden, expected, rtol=1e-10, atol=1e-12)
    assert sum(t.square().sum() for t in merged.tensors) < sum(t.square().sum() for t in split.tensors)


@pytest.mark.parametrize(("num_classes", "depth"), [(2, 5), (3, 3), (5, 2), (4, 1)])
def test_the_polish_brings_a_disturbed_dnc_solution_back_to_the_last_digits(num_classes, depth):
    decay = 0.004
    objective = Objective(reduced(num_classes, (num_classes,) * depth, decay))
    exact, loss = diagonal(num_classes, depth, decay)
    flat = objective.flatten(exact)
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    polished = polish(objective, flat + 0.01 * noise, tick=lambda: None)
    assert objective.value_and_gradient(polished, smoothing=0)[0].item() == pytest.approx(loss, rel=1e-8)
    assert check_stationarity(objective, polished).stationary


def test_a_polish_that_runs_out_of_time_ends_no_worse_than_it_began():
    objective = Objective(reduced(3, (3, 3, 3), 0.004))
    exact, _ = diagonal(3, 3, 0.004)
    noise = torch.randn(1, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = objective.flatten(exact) + 0.01 * noise
    ticks = iter(range(20))

    def tick():
        if next(ticks, None) is None:
            raise OutOfTime

    polished = polish(objective, start, tick=tick)
    before, after = (objective.value_and_gradient(flat, smoothing=0)[0].item() for flat in (start, polished))
    assert after < before


def test_a_dnc_solution_is_stationary_at_all_its_kinks():
    exact, _ = diagonal(4, 3, 0.004)
    objective = Objective(reduced(4, (4, 4, 4), 0.004))
    found = check_stationarity(objective, objective.flatten(exact))
    assert found.kinks == 2 * 4 * 3
    assert found.gradient_norm < 1e-7
    assert found.descent > -1e-7
    assert found.stationary


def test_a_graph_solution_is_stationary_at_hundreds_of_kinks():
    wide = reduced(21, (84, 84, 84, 84), 0.002)
    exact = srg(wide).build()
    objective = Objective(wide.with_widths(living_widths(exact)))
    found = check_stationarity(objective, objective.flatten(resize(exact, objective.problem.widths)))
    assert found.kinks > 500
    assert found.gradient_norm < 1e-5
    assert found.stationary


def test_a_random_network_is_not_stationary():
    objective = Objective(reduced(4, (4, 4, 4)))
    found = check_stationarity(objective, random_flat(objective, 1))
    assert found.gradient_norm > 0.1
    assert not found.stationary


def test_a_concave_kink_is_seen_from_the_side_where_the_loss_falls():
    # One class is cut off: its neuron is at 0, and lifting it would help. With σ'(0) = 0 no weight has a reason to
    # move.
    decay = 0.004
    exact, _ = diagonal(2, 2, decay)
    objective = Objective(reduced(2, (2, 2), decay))
    features, first, last = (tensor.clone() for tensor in exact.tensors)
    first[0, 0] = 0
    found = check_stationarity(objective, objective.flatten(Variables(features, (first, last))))
    assert found.descent < -0.1
    assert not found.stationary


def test_zero_is_stationary_where_nothing_moves():
    objective = Objective(reduced(3, (2, 2)))
    found = check_stationarity(objective, torch.zeros(1, sum(objective.sizes), dtype=torch.float64))
    assert found.stationary


def test_the_pool_keeps_the_best_of_different_losses():
    pool = Pool(size=2, variables=1, device="cpu")
    assert math.isinf(pool.best)
    flats = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    pool.add(flats, torch.tensor([0.3, 0.1, 0.100001, float("nan"), 0.2]), list("abcde"))
    assert pool.names == ["b", "e"]
    parents, names = pool.parents(50, torch.Generator().manual_seed(0))
    assert {name: float(flat) for flat, name in zip(parents, names, strict=True)} == {"b": 2.0, "e": 5.0}
