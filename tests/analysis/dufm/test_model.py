"""Loss and gradient against the formula, autograd and central differences."""

import itertools

import pytest
import torch
from dufm_models import model, naive_loss, random_variables

from analysis.dufm.model import class_means, layer_matrices, losses, losses_and_gradients

SHAPES = [
    {"depth": 1, "width": (4,), "decay": (0.1,), "feature_decay": 0.3},
    {"depth": 2, "width": (2, 6), "decay": (0.1, 0.05), "feature_decay": 0.02},
    {"depth": 4, "width": (5, 3, 7, 4), "decay": (0.01, 0.2, 0.0, 0.03), "feature_decay": 0.07},
]
CASES = list(itertools.product(["relu", "linear"], ["mse", "cross_entropy"], SHAPES, [1, 3]))


@pytest.mark.parametrize(("activation", "loss", "shape", "samples"), CASES)
def test_loss_and_gradient_are_those_of_autograd(activation, loss, shape, samples):
    problem = model(activation=activation, loss=loss, samples_per_class=samples, **shape)
    variables = random_variables(problem, runs=3)
    found, gradient = losses_and_gradients(problem, variables)
    for run in range(3):
        leaves = [tensor[run].clone().requires_grad_() for tensor in variables.tensors]
        expected = naive_loss(problem, leaves[0], leaves[1:])
        expected.backward()
        torch.testing.assert_close(found.loss[run], expected.detach(), rtol=1e-13, atol=0)
        torch.testing.assert_close(losses(problem, variables).loss[run], expected.detach(), rtol=1e-13, atol=0)
        for leaf, ours in zip(leaves, gradient.tensors, strict=True):
            torch.testing.assert_close(ours[run], leaf.grad, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("activation", "loss", "shape", "samples"), CASES)
def test_gradient_is_the_slope_of_the_loss(activation, loss, shape, samples):
    problem = model(activation=activation, loss=loss, samples_per_class=samples, **shape)
    variables = random_variables(problem, seed=1)
    _, gradient = losses_and_gradients(problem, variables)
    step = 1e-6
    for index, tensor in enumerate(variables.tensors):
        for place in itertools.islice(itertools.product(*map(range, tensor.shape)), 0, None, 3):
            values = []
            for sign in (1, -1):
                moved = [other.clone() for other in variables.tensors]
                moved[index][place] += sign * step
                values.append(float(naive_loss(problem, moved[0][0], [weight[0] for weight in moved[1:]])))
            slope = (values[0] - values[1]) / (2 * step)
            assert float(gradient.tensors[index][place]) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_layers_are_named_as_in_the_report_and_rectified_where_they_say_so():
    problem = model(depth=3, samples_per_class=2)
    variables = random_variables(problem)
    matrices = layer_matrices(problem, variables)
    assert list(matrices) == ["H_1", "H_2", "relu(H_2)", "H_3", "relu(H_3)", "output"]
    first, second, third = (weight[0] for weight in variables.weights)
    torch.testing.assert_close(matrices["H_2"][0], first @ variables.features[0])
    torch.testing.assert_close(matrices["relu(H_3)"][0], (second @ matrices["H_2"][0].clamp(min=0)).clamp(min=0))
    torch.testing.assert_close(matrices["output"][0], third @ matrices["relu(H_3)"][0])


def test_samples_of_a_class_stand_side_by_side():
    problem = model(num_classes=2, depth=1, width=1, samples_per_class=3)
    rows = torch.tensor([[[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]]])
    assert class_means(problem, rows).tolist() == [[[2.0, 20.0]]]
