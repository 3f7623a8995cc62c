import numpy as np
import pytest
import torch

from analysis.dufm.model import Variables, losses, pre_activations
from analysis.dufm.problem import Problem
from analysis.dufm.rescaling import balance, expand, pad, reduce

DECAYS = (0.003, 0.02, 0.0007, 0.5)


@pytest.fixture
def problem():
    return Problem(num_classes=3, widths=(4, 5, 6, 4), weight_decays=DECAYS, feature_decay=0.011, samples_per_class=5)


def random_variables(problem, *, runs=2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(runs, *shape, generator=generator, dtype=torch.float64)

    features = draw(problem.widths[0], problem.num_samples)
    return Variables(features, tuple(draw(*shape) for shape in problem.weight_shapes))


def naive_loss(problem, variables, run=0):
    hidden = variables.features[run].numpy()
    regularization = problem.feature_decay / 2 * (hidden**2).sum()
    for index, (decay, weight) in enumerate(zip(problem.weight_decays, variables.weights, strict=True)):
        hidden = weight[run].numpy() @ (hidden if index == 0 else np.maximum(hidden, 0))
        regularization += decay / 2 * (weight[run].numpy() ** 2).sum()
    target = np.kron(np.eye(problem.num_classes), np.ones((1, problem.samples_per_class)))
    return ((hidden - target) ** 2).sum() / (2 * target.shape[1]) + regularization


def shares(problem, variables):
    decays = (problem.feature_decay, *problem.weight_decays)
    return torch.stack(
        [decay * tensor.square().sum(dim=(1, 2)) for decay, tensor in zip(decays, variables.tensors, strict=True)]
    )


@pytest.mark.parametrize("samples", [1, 5])
def test_an_expanded_solution_has_exactly_the_loss_of_the_reduced_problem(samples):
    problem = Problem(
        num_classes=3, widths=(4, 5, 6, 4), weight_decays=DECAYS, feature_decay=0.011, samples_per_class=samples
    )
    variables = random_variables(problem.reduced)

    expanded = expand(problem, variables)

    for run in range(2):
        assert naive_loss(problem, expanded, run) == pytest.approx(
            naive_loss(problem.reduced, variables, run), rel=1e-13
        )


def test_reducing_undoes_expanding(problem):
    variables = random_variables(problem.reduced)

    for before, after in zip(variables.tensors, reduce(problem, expand(problem, variables)).tensors, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-13, atol=1e-15)


def test_reducing_keeps_the_loss_where_the_samples_of_a_class_coincide(problem):
    variables = random_variables(problem)
    means = variables.features.reshape(2, 4, 3, 5).mean(dim=3)
    collapsed = Variables(means.repeat_interleave(5, dim=2), variables.weights)

    reduced = reduce(problem, collapsed)

    assert reduced.features.shape == (2, 4, 3)
    assert naive_loss(problem.reduced, reduced) == pytest.approx(naive_loss(problem, collapsed), rel=1e-13)
    torch.testing.assert_close(reduce(problem, variables).features, reduced.features)


@pytest.mark.parametrize("change", [expand, reduce, balance])
def test_without_a_decay_there_is_nothing_to_rescale_to(change):
    problem = Problem(num_classes=2, widths=(2, 2), weight_decays=(0.1, 0.0), feature_decay=0.1)

    with pytest.raises(ValueError, match="decay of 0"):
        change(problem, random_variables(problem))


def test_padding_changes_neither_output_nor_regularization(problem):
    variables = random_variables(problem)
    wider = Problem(num_classes=3, widths=(9, 5, 7, 40), weight_decays=DECAYS, feature_decay=0.011, samples_per_class=5)

    padded = pad(variables, wider.widths)

    assert tuple(weight.shape[1:] for weight in padded.weights) == wider.weight_shapes
    torch.testing.assert_close(losses(wider, padded).fit, losses(problem, variables).fit, rtol=1e-14, atol=0)
    torch.testing.assert_close(losses(wider, padded).loss, losses(problem, variables).loss, rtol=1e-14, atol=0)


def test_layers_without_neurons_can_be_padded():
    nothing = Variables(torch.zeros(1, 0, 3), (torch.zeros(1, 0, 0), torch.zeros(1, 3, 0)))

    assert [tuple(tensor.shape) for tensor in pad(nothing, (2, 4)).tensors] == [(1, 2, 3), (1, 4, 2), (1, 3, 4)]


@pytest.mark.parametrize("widths", [(4, 5, 6, 3), (4, 5, 6), (4, 5, 6, 4, 4)])
def test_padding_to_other_layers_is_refused(problem, widths):
    with pytest.raises(ValueError, match="do not fit"):
        pad(random_variables(problem), widths)


def test_balancing_keeps_the_function_and_makes_every_neurons_sides_equal(problem):
    variables = random_variables(problem)

    balanced = balance(problem, variables)

    torch.testing.assert_close(
        pre_activations(problem, balanced)[-1], pre_activations(problem, variables)[-1], rtol=1e-9, atol=1e-9
    )
    decays = (problem.feature_decay, *problem.weight_decays)
    for index in range(problem.depth):
        rows = decays[index] * balanced.tensors[index].square().sum(dim=2)
        columns = decays[index + 1] * balanced.tensors[index + 1].square().sum(dim=1)
        torch.testing.assert_close(rows, columns, rtol=1e-4, atol=0)
    equal = shares(problem, balanced)
    torch.testing.assert_close(equal, equal[:1].expand_as(equal), rtol=1e-4, atol=0)


def test_balancing_never_raises_the_loss_and_no_rescaling_of_one_neuron_lowers_it_further(problem):
    variables = random_variables(problem)
    balanced = balance(problem, variables)
    least = naive_loss(problem, balanced)

    assert least < naive_loss(problem, variables)
    for factor in (0.9, 0.999, 1.001, 1.1):
        for layer in range(1, problem.depth):
            moved = [tensor.clone() for tensor in balanced.tensors]
            moved[layer][:, 1, :] *= factor
            moved[layer + 1][:, :, 1] /= factor
            assert naive_loss(problem, Variables(moved[0], tuple(moved[1:]))) >= least * (1 - 1e-12)


def test_a_neuron_that_does_nothing_becomes_zero(problem):
    variables = random_variables(problem)
    variables.weights[1][:, 2, :] = 0
    variables.weights[3][:, :, 1] = 0

    balanced = balance(problem, variables)

    assert not balanced.weights[2][:, :, 2].any()
    assert not balanced.weights[2][:, 1, :].any()
    torch.testing.assert_close(
        pre_activations(problem, balanced)[-1], pre_activations(problem, variables)[-1], rtol=1e-9, atol=1e-9
    )


def test_a_run_of_zeros_stays_zeros(problem):
    variables = random_variables(problem)
    for tensor in variables.tensors:
        tensor[1] = 0

    balanced = balance(problem, variables)

    assert all(bool(tensor.isfinite().all()) for tensor in balanced.tensors)
    assert not any(bool(tensor[1].any()) for tensor in balanced.tensors)
    assert bool(balanced.features[0].any())
