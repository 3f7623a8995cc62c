"""Runs that stop: converged, diverged, at the last step."""

import pytest
import torch
from dufm_models import dnc_loss, model, naive_loss, random_variables

from analysis.dufm.descent import Descent
from analysis.dufm.ensemble import CHECK_STEPS, Ensemble, shrinks
from analysis.dufm.initial import initial_variables
from analysis.dufm.model import Variables
from analysis.dufm.recording import Recording
from analysis.dufm.structure import classify


def trained(problem, variables, *, steps, rate=0.5, gradient_norm=1e-7, interval=1000, optimizer="gd"):
    runs = len(variables.features)
    recording = Recording(problem, seeds=range(runs), steps=steps, interval=interval)
    descent = Descent(problem, variables, optimizer=optimizer, learning_rate=rate)
    ensemble = Ensemble(problem, descent, recording, gradient_norm=gradient_norm)
    ensemble.train(steps, lambda step: None)
    return ensemble, recording


def gradient_norm(problem, variables):
    leaves = [tensor[0].clone().requires_grad_() for tensor in variables.tensors]
    naive_loss(problem, leaves[0], leaves[1:]).backward()
    squares = [(float((leaf.grad**2).sum()), float((leaf.detach() ** 2).sum())) for leaf in leaves]
    return (sum(gradient for gradient, _ in squares) / sum(value for _, value in squares)) ** 0.5


def test_a_converged_run_has_a_small_gradient_and_stops():
    problem = model(num_classes=2, depth=2, width=4, decay=0.02)
    ensemble, _ = trained(problem, initial_variables(problem, range(4), scale=1.4), steps=100_000)
    for run, ending in ensemble.endings.items():
        assert ending.reason == "converged"
        assert ending.steps < 100_000
        assert ending.steps % CHECK_STEPS == 0
        final = ensemble.final.run(run)
        assert ending.gradient_norm == pytest.approx(gradient_norm(problem, final), rel=1e-4)
        assert ending.gradient_norm <= 1e-7
        loss = naive_loss(problem, final.features[0], [weight[0] for weight in final.weights])
        assert ending.losses[0] == pytest.approx(float(loss))


def test_without_a_condition_every_run_takes_all_steps():
    problem = model(num_classes=2, depth=2, width=4, decay=0.02)
    variables = initial_variables(problem, range(2), scale=1.4)
    ensemble, _ = trained(problem, variables, steps=5_001, gradient_norm=None)
    assert [(ending.reason, ending.steps) for ending in ensemble.endings.values()] == [("step_limit", 5_001)] * 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"num_classes": 2, "depth": 3, "width": 6, "decay": 0.01},
        {"num_classes": 2, "depth": 2, "width": 6, "decay": 0.01, "samples_per_class": 5, "feature_decay": 0.002},
        {"num_classes": 5, "depth": 1, "width": 8, "decay": 0.02},
        {"num_classes": 3, "depth": 2, "width": 6, "decay": 0.01, "activation": "linear"},
        {"num_classes": 3, "depth": 2, "width": 6, "decay": (0.02, 0.005), "feature_decay": 0.01},
    ],
)
def test_where_deep_neural_collapse_is_optimal_the_best_run_ends_in_it(parameters):
    problem = model(**parameters)
    ensemble, _ = trained(problem, initial_variables(problem, range(8), scale=1.4), steps=60_000)
    best = min(ensemble.endings, key=lambda run: ensemble.endings[run].losses[0])
    assert ensemble.endings[best].losses[0] == pytest.approx(dnc_loss(problem), rel=1e-6)
    assert classify(problem, ensemble.final.run(best)) == "dnc"
    assert min(ending.losses[0] for ending in ensemble.endings.values()) > dnc_loss(problem) * (1 - 1e-9)


def test_five_samples_with_a_fifth_of_the_decay_are_as_one():
    one = model(num_classes=2, depth=2, width=6, decay=0.01)
    five = model(num_classes=2, depth=2, width=6, decay=0.01, samples_per_class=5, feature_decay=0.002)
    losses = []
    for problem in (one, five):
        ensemble, _ = trained(problem, initial_variables(problem, range(4), scale=1.4), steps=60_000)
        losses.append(min(ending.losses[0] for ending in ensemble.endings.values()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_adam_gets_there_too():
    problem = model(num_classes=2, depth=2, width=6, decay=0.01)
    variables = initial_variables(problem, range(4), scale=1.4)
    ensemble, _ = trained(problem, variables, steps=20_000, rate=1e-3, optimizer="adam")
    assert min(ending.losses[0] for ending in ensemble.endings.values()) == pytest.approx(dnc_loss(problem), rel=1e-6)


@pytest.mark.parametrize("depth", [1, 2])
def test_cross_entropy_ends_in_neural_collapse(depth):
    problem = model(num_classes=3, depth=depth, width=6, decay=0.005, loss="cross_entropy")
    ensemble, _ = trained(problem, initial_variables(problem, range(4), scale=1.4), steps=60_000)
    best = min(ensemble.endings, key=lambda run: ensemble.endings[run].losses[0])
    assert ensemble.endings[best].reason == "converged"
    assert classify(problem, ensemble.final.run(best)) == "dnc"


def test_too_much_decay_ends_in_zero_without_waiting():
    problem = model(num_classes=4, depth=3, width=6, decay=0.3)
    ensemble, _ = trained(problem, initial_variables(problem, range(2), scale=1.0), steps=1_000_000)
    for run, ending in ensemble.endings.items():
        assert ending.reason == "converged"
        assert ending.steps < 10_000
        assert ending.losses == pytest.approx((0.5, 0.5, 0.0), abs=1e-9)
        assert classify(problem, ensemble.final.run(run)) == "zero"


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_who_shrinks_goes_on_shrinking(depth, loss, activation):
    """Small steps along the flow from the edge of the region: the norm falls at every one."""
    problem = model(num_classes=3, depth=depth, decay=0.3 if depth > 1 else 0.9, loss=loss, activation=activation)
    variables = random_variables(problem, runs=40)
    for scale in (2.0**-power for power in range(12)):
        smaller = Variables(scale * variables.features, tuple(scale * weight for weight in variables.weights))
        inside = shrinks(problem, smaller)
        if bool(inside.any()):
            break
    assert bool(inside.any())
    smaller = smaller.select(inside.nonzero()[:, 0])
    descent = Descent(problem, smaller, optimizer="gd", learning_rate=0.01)
    before = torch.stack([tensor.square().sum(dim=(1, 2)) for tensor in smaller.tensors]).sum(dim=0)
    for _ in range(50):
        descent.advance(1)
        after = torch.stack([tensor.square().sum(dim=(1, 2)) for tensor in descent.variables.tensors]).sum(dim=0)
        assert bool((after < before).all())
        assert bool(shrinks(problem, descent.variables).all())
        before = after


def test_a_small_start_that_grows_is_not_called_zero():
    problem = model(num_classes=2, depth=1, width=4, decay=0.01)
    ensemble, _ = trained(problem, initial_variables(problem, range(2), scale=1e-6), steps=50_000)
    assert {classify(problem, ensemble.final.run(run)) for run in range(2)} == {"dnc"}


def test_a_run_that_diverges_leaves_and_the_others_stay_as_they_were():
    problem = model(num_classes=3, depth=3, width=6, decay=0.01)
    calm = initial_variables(problem, range(3), scale=1.0)
    wild = Variables(calm.features.clone(), calm.weights)
    wild.features[1] *= 1e4
    ensemble, recording = trained(problem, wild, steps=3_000)
    alone, _ = trained(problem, calm, steps=3_000)
    assert [ensemble.endings[run].reason for run in range(3)] == ["step_limit", "diverged", "step_limit"]
    assert ensemble.endings[1].steps <= CHECK_STEPS
    assert ensemble.endings[1].losses[0] == pytest.approx(recording.losses_of(1)[0])
    assert ensemble.endings[1].gradient_norm is None
    for run in (0, 2):
        assert ensemble.endings[run] == alone.endings[run]
        assert all(map(torch.equal, ensemble.final.run(run).tensors, alone.final.run(run).tensors))
    trajectory = recording.trajectory()
    assert all(value is not None for value in trajectory.loss.max)
    assert trajectory.loss.max[0] > 1e3 > trajectory.loss.max[1]


def test_a_start_that_is_not_finite_has_no_loss():
    problem = model(num_classes=2, depth=3, width=3)
    variables = random_variables(problem, scale=1e120)
    ensemble, recording = trained(problem, variables, steps=100)
    [ending] = ensemble.endings.values()
    assert (ending.reason, ending.steps, ending.losses, ending.gradient_norm) == ("diverged", 0, None, None)
    assert recording.trajectory().step == ()
