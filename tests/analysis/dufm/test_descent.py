"""Batched steps against one run at a time with autograd and torch's own optimisers."""

import pytest
import torch
from dufm_models import Stop, model, naive_loss, random_variables

from analysis.dufm.descent import Descent

MODELS = [
    {},
    {"samples_per_class": 3, "width": (5, 2, 7), "decay": (0.1, 0.02, 0.005), "feature_decay": 0.01},
    {"loss": "cross_entropy"},
    {"activation": "linear", "samples_per_class": 2},
    {"loss": "cross_entropy", "activation": "linear"},
    {"depth": 1},
]
RATES = {"gd": 0.3, "adam": 0.01}


def torchs_own(problem, variables, run, *, optimizer, steps):
    leaves = [tensor[run].clone().requires_grad_() for tensor in variables.tensors]
    kind = {"gd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    own = kind(leaves, lr=RATES[optimizer])
    for _ in range(steps):
        own.zero_grad()
        naive_loss(problem, leaves[0], leaves[1:]).backward()
        own.step()
        yield [leaf.detach() for leaf in leaves]


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("parameters", MODELS)
def test_every_step_is_that_of_torchs_optimizer(parameters, optimizer):
    problem = model(**parameters)
    variables = random_variables(problem, runs=2, scale=0.7)
    descent = Descent(problem, variables, optimizer=optimizer, learning_rate=RATES[optimizer])
    references = [torchs_own(problem, variables, run, optimizer=optimizer, steps=30) for run in range(2)]
    for expected in zip(*references, strict=True):
        descent.advance(1)
        for run in range(2):
            for ours, theirs in zip(descent.variables.tensors, expected[run], strict=True):
                torch.testing.assert_close(ours[run], theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("width", [2, 7, 30])
def test_a_run_is_the_same_to_the_bit_whatever_is_beside_it(optimizer, width):
    problem = model(num_classes=4, width=width, samples_per_class=3)
    variables = random_variables(problem, runs=5, scale=width**-0.5)
    variables.features[2] *= 1e6  # diverges, and not only alone
    together = Descent(problem, variables, optimizer=optimizer, learning_rate=RATES[optimizer])
    together.advance(60)
    for run in range(5):
        alone = Descent(problem, variables.run(run), optimizer=optimizer, learning_rate=RATES[optimizer])
        alone.advance(60)
        for one, all_of_them in zip(alone.variables.tensors, together.variables.tensors, strict=True):
            torch.testing.assert_close(one[0], all_of_them[run], rtol=0, atol=0, equal_nan=True)
        assert run == 2 or all(bool(tensor[run].isfinite().all()) for tensor in together.variables.tensors)


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_runs_that_stay_do_not_notice_those_that_leave(optimizer):
    problem = model()
    variables = random_variables(problem, runs=4)
    whole, fewer = (Descent(problem, variables, optimizer=optimizer, learning_rate=RATES[optimizer]) for _ in range(2))
    whole.advance(20)
    fewer.advance(11)
    fewer.keep(torch.tensor([1, 3]))
    fewer.advance(9)
    for kept, all_of_them in zip(fewer.variables.tensors, whole.variables.tensors, strict=True):
        assert torch.equal(kept, all_of_them[[1, 3]])


def test_the_given_variables_stay_as_they_are():
    problem = model()
    variables = random_variables(problem)
    before = [tensor.clone() for tensor in variables.tensors]
    Descent(problem, variables, optimizer="gd", learning_rate=0.1).advance(3)
    assert all(map(torch.equal, before, variables.tensors))


def test_dying_numbers_become_zero():
    problem = model()
    variables = random_variables(problem)
    variables.weights[1][0, 0] = variables.weights[2][0, :, 0] = 1e-250  # into a neuron, and out of it
    descent = Descent(problem, variables, optimizer="gd", learning_rate=1e-9)
    descent.advance(1)
    assert not descent.variables.weights[1][0, 0].any()
    assert not descent.variables.weights[2][0, :, 0].any()
    assert descent.variables.weights[1][0, 1].all()


def test_whoever_listens_can_stop_it(monkeypatch):
    monkeypatch.setattr("analysis.dufm.descent.HEARD_SECONDS", 0.0)
    problem, heard = model(), []

    def hear():
        heard.append(1)
        if len(heard) == 3:
            raise Stop

    descent = Descent(problem, random_variables(problem), optimizer="gd", learning_rate=0.1)
    with pytest.raises(Stop):
        descent.advance(1000, hear)
    assert len(heard) == 3
