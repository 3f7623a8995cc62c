"""Singular values: the quick way agrees with the careful one, and is left where it would lose digits."""

import numpy as np
import pytest
import torch

from analysis import singular_values as module
from analysis.singular_values import decompose, decompose_rows, row_span, singular_values, without_null_direction


def matrix(rows, columns, *, smallest, seed=0):
    """Singular values from 1 down to `smallest`."""
    generator = np.random.default_rng(seed)
    size = min(rows, columns)
    left = np.linalg.qr(generator.normal(size=(rows, size)))[0]
    right = np.linalg.qr(generator.normal(size=(columns, size)))[0]
    values = np.geomspace(1, smallest, size)
    return torch.as_tensor(left * values @ right.T), values


@pytest.mark.parametrize(("rows", "columns"), [(70, 90), (90, 70), (70, 70), (5, 200), (200, 5)])
@pytest.mark.parametrize("smallest", [0.5, 1e-1, 1e-3, 1e-7, 1e-12])
def test_values_are_right_to_the_smallest(rows, columns, smallest):
    given, values = matrix(rows, columns, smallest=smallest)
    found = singular_values(given).numpy()
    assert found == pytest.approx(values, rel=1e-10, abs=1e-15)
    decomposition = decompose(given)
    kept = len(decomposition.singular_values)
    assert decomposition.singular_values.numpy() == pytest.approx(values[:kept], rel=1e-10, abs=1e-15)
    rebuilt = decomposition.left * decomposition.singular_values @ decomposition.right
    np.testing.assert_allclose(rebuilt, given, atol=1e-12)
    np.testing.assert_allclose(decomposition.left.T @ decomposition.left, np.eye(kept), atol=1e-10)


def test_quick_way_is_taken_where_it_is_good_and_only_there(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the careful way was taken")

    good, bad = matrix(80, 100, smallest=0.5)[0], matrix(80, 100, smallest=1e-3)[0]
    monkeypatch.setattr(torch.linalg, "svdvals", refuse)
    singular_values(good)
    with pytest.raises(AssertionError, match="careful"):
        singular_values(bad)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_squares_that_float64_cannot_hold(scale):
    given, values = matrix(80, 100, smallest=0.5)
    assert singular_values(scale * given).numpy() == pytest.approx(scale * values, rel=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(6, 9), (9, 6), (100, 120), (120, 80), (2, 3)])
@pytest.mark.parametrize("even", [True, False])
def test_direction_that_centring_takes_out(rows, columns, even):
    generator = np.random.default_rng(3)
    weights = np.ones(rows) if even else generator.uniform(0.1, 5, size=rows)
    weights = torch.as_tensor(weights / weights.sum())
    means = torch.as_tensor(generator.normal(size=(rows, columns)))
    centered = means - weights @ means
    values = np.linalg.svd(centered, compute_uv=False)[: rows - 1]
    reduced = without_null_direction(centered, null=weights)
    assert reduced.shape == (rows - 1, columns)
    assert singular_values(reduced).numpy()[: len(values)] == pytest.approx(values, rel=1e-10)
    decomposition = decompose_rows(centered, null=weights)
    assert decomposition.singular_values.numpy() == pytest.approx(values, rel=1e-10)
    np.testing.assert_allclose(weights @ decomposition.left, 0, atol=1e-13)
    rebuilt = decomposition.left * decomposition.singular_values @ decomposition.right
    np.testing.assert_allclose(rebuilt, centered, atol=1e-11)


def test_zero_directions_are_left_out():
    given = torch.zeros(5, 7, dtype=torch.float64)
    given[0, 0], given[1, 0] = 1.0, -1.0
    found = decompose_rows(given, null=torch.ones(5, dtype=torch.float64))
    assert found.singular_values.numpy() == pytest.approx([np.sqrt(2)])


def test_well_conditioned_means_what_it_says():
    """The error of a root next to the limit, measured: the constant is not a guess."""
    given, values = matrix(200, 300, smallest=module.WELL_CONDITIONED**0.5 * 1.01)
    roots = torch.linalg.eigvalsh(given @ given.T).flip(0).sqrt().numpy()
    assert np.max(np.abs(roots / values - 1)) < 1e-11


@pytest.mark.parametrize(("rows", "columns"), [(70, 90), (90, 70), (5, 9)])
@pytest.mark.parametrize("smallest", [0.5, 1e-3, 1e-7])
@pytest.mark.parametrize("tolerance", [1e-9, 0.0123])
def test_span_of_the_rows(rows, columns, smallest, tolerance):
    given, values = matrix(rows, columns, smallest=smallest)
    found = singular_values(given)
    kept = found[found > tolerance * found[0]]
    span = row_span(given, kept)
    assert len(span) == np.sum(values > tolerance)
    # A row that belongs to the smallest singular value is off by the rounding of the largest over it.
    rounding = 10 * np.finfo(float).eps / values[len(span) - 1]
    np.testing.assert_allclose(span @ span.T, np.eye(len(span)), atol=1e-12 + rounding)
    _, _, right = np.linalg.svd(given.numpy(), full_matrices=False)
    projection = right[: len(span)].T @ right[: len(span)]
    np.testing.assert_allclose(span.T @ span, projection, atol=1e-7)
