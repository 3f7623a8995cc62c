"""The curvature by which a learning rate is suggested."""

import pytest
import torch
from dufm_models import model, naive_loss, random_variables

from analysis.dufm.advice import largest_curvature, suggest_rate
from analysis.dufm.descent import Descent
from analysis.dufm.model import Variables, losses


def hessian(problem, variables):
    shapes = [tensor.shape[1:] for tensor in variables.tensors]
    flat = torch.cat([tensor[0].flatten() for tensor in variables.tensors])

    def loss(values):
        pieces = values.split([shape.numel() for shape in shapes])
        features, *weights = (piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
        return naive_loss(problem, features, weights)

    return torch.autograd.functional.hessian(loss, flat)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_curvature_is_the_largest_eigenvalue_of_the_hessian(loss):
    problem = model(num_classes=3, depth=2, width=4, loss=loss)
    variables = random_variables(problem, seed=5)
    expected = torch.linalg.eigvalsh(hessian(problem, variables)).abs().max()
    assert largest_curvature(problem, variables) == pytest.approx(float(expected), rel=0.05)


def test_the_suggested_rate_has_one_digit_and_descends():
    problem = model(num_classes=3, depth=3, width=6)
    variables = random_variables(problem, scale=0.8)
    rate = suggest_rate(problem, variables, 50.0)
    assert f"{rate:.0e}" == f"{rate:g}" or float(f"{rate:.0e}") == pytest.approx(rate)
    assert rate <= 25
    descent = Descent(problem, variables, optimizer="gd", learning_rate=rate)
    descent.advance(500)
    assert float(losses(problem, descent.variables).loss) < float(losses(problem, variables).loss)


def test_no_curvature_leaves_half_of_the_rate():
    problem = model(depth=3, decay=0.0)
    zeros = random_variables(problem, scale=0.0)
    assert suggest_rate(problem, Variables(zeros.features, zeros.weights), 0.5) == pytest.approx(0.2)
