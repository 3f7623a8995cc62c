"""The classifier against the nearest class mean: screened in float32, and yet the count of float64."""

import numpy as np
import pytest
import torch

from analysis import decisions
from analysis.decisions import Disagreements


def count(features, labels, weights, biases, *, screened, monkeypatch):
    monkeypatch.setattr(decisions, "WORTH_SCREENING", 0 if screened else 1 << 60)
    features, class_indices = torch.as_tensor(features), torch.as_tensor(labels)
    means = torch.stack([features[class_indices == label].mean(dim=0) for label in range(len(weights))])
    scale = features.abs().max()  # whose squares float64 may not hold
    nearest = torch.cdist(features / scale, means / scale).argmin(dim=1)
    weights = torch.as_tensor(weights)
    counted = [
        Disagreements(weights, None if biases is None else torch.as_tensor(biases), class_means=relative_to)
        for relative_to in (means, None)
    ]
    for tile in torch.arange(len(features)).split(7):
        for own, samples in zip(counted, (features - means[class_indices], features), strict=True):
            constants = own.constants if own.constants.ndim == 1 else own.constants[class_indices[tile]]
            scores_of_tile = None if screened else samples[tile] @ weights.T + constants
            own.update(samples[tile], class_indices[tile], nearest[tile], scores_of_tile)
    [of_residuals, of_samples] = counted
    assert of_residuals.count == of_samples.count
    scores = features @ weights.T + (0 if biases is None else torch.as_tensor(biases))
    return of_samples.count, int((scores.argmax(dim=1) != nearest).sum())


@pytest.mark.parametrize("screened", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 1e200])
def test_count_is_that_of_float64(screened, offset, scale, clusters, monkeypatch):
    features, labels, means = clusters(sizes=[40] * 12, dim=20, noise=3.0)
    weights, biases = means + 0.3, np.linspace(-5, 5, 12) * scale
    found, expected = count(
        scale * (features + offset), labels, weights, biases, screened=screened, monkeypatch=monkeypatch
    )
    assert found == expected
    assert 0 < found < len(labels)


@pytest.mark.parametrize("screened", [True, False])
def test_ties_go_to_the_first_class(screened, monkeypatch):
    """Scores that are equal exactly: two rows of W alike. argmax takes the first, which is not the nearest of half."""
    features = np.repeat(np.eye(4), 3, axis=0)
    weights = np.eye(4)[[0, 0, 2, 2]]
    found, expected = count(
        features, np.repeat(np.arange(4), 3), weights, None, screened=screened, monkeypatch=monkeypatch
    )
    assert found == expected == 6


def test_margins_below_float32_are_decided_in_float64(monkeypatch):
    """Two classes whose scores differ by 1e-12 of their size: float32 sees none of it."""
    generator = np.random.default_rng(0)
    base = generator.normal(size=8)
    features = np.repeat(np.stack([base, -base]), 5, axis=0) + 1e-3 * generator.normal(size=(10, 8))
    labels = np.repeat([0, 1], 5)
    for sign in (1, -1):
        weights = np.stack([base, base * (1 - sign * 1e-12)])
        found, expected = count(features, labels, weights, None, screened=True, monkeypatch=monkeypatch)
        assert found == expected
        assert found == (0 if sign > 0 else 10)
