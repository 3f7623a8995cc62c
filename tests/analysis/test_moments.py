"""The algebra of moments: however samples are split and merged, the moments are those of the whole."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_client.format.moments import Moments, ProjectedScatter


def accumulate(features, class_indices, num_classes, bounds=(), **options):
    """One moments object for each stretch between the bounds."""
    edges = [0, *bounds, len(features)]
    parts = []
    for start, stop in itertools.pairwise(edges):
        part = Moments(num_classes=num_classes, dim=features.shape[1], **options)
        part.update(features[start:stop], class_indices[start:stop])
        parts.append(part)
    return parts


def merged(parts):
    kind = "trace" if parts[0].products is None else "matrix"
    total = Moments(num_classes=len(parts[0].counts), dim=parts[0].shift.shape[1], second_moments=kind)
    for part in parts:
        total.merge(part)
    return total


def assert_same(left, right, scale=1.0):
    assert left.counts.tolist() == right.counts.tolist()
    torch.testing.assert_close(left.means, right.means, rtol=1e-12, atol=1e-12 * scale)
    torch.testing.assert_close(left.scatter, right.scatter, rtol=1e-10, atol=1e-14 * scale**2)
    if right.scatter_matrix is not None:
        torch.testing.assert_close(left.scatter_matrix, right.scatter_matrix, rtol=1e-10, atol=1e-13 * scale**2)


@st.composite
def batches(draw):
    """Samples with classes, an offset, and cuts into stretches."""
    size, num_classes, dim = draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    offset = draw(st.sampled_from([0.0, 1.0, -1e3, 1e5]))
    spread = 10.0 ** generator.integers(-3, 3, size=(size, 1))
    features = torch.as_tensor(offset + spread * generator.normal(size=(size, dim)))
    class_indices = torch.as_tensor(generator.integers(num_classes, size=size))
    bounds = sorted(draw(st.lists(st.integers(0, size), max_size=5)))
    return features, class_indices, num_classes, bounds, 1e2 + abs(offset)


kinds = st.sampled_from(["trace", "matrix"])


@given(batches(), kinds)
@settings(deadline=None)
def test_merging_is_the_same_as_seeing_all_at_once(batch, kind):
    features, class_indices, num_classes, bounds, scale = batch
    [whole] = accumulate(features, class_indices, num_classes, second_moments=kind)
    assert_same(merged(accumulate(features, class_indices, num_classes, bounds, second_moments=kind)), whole, scale)


@given(batches(), kinds, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_merging_does_not_matter(batch, kind, random):
    features, class_indices, num_classes, bounds, scale = batch
    parts = accumulate(features, class_indices, num_classes, bounds, second_moments=kind)
    forwards = merged(parts)
    random.shuffle(parts)
    while len(parts) > 1:
        parts[0].merge(parts.pop())
        random.shuffle(parts)
    assert_same(parts[0], forwards, scale)


@given(batches())
@settings(deadline=None)
def test_updating_in_turn_is_the_same_as_merging(batch):
    features, class_indices, num_classes, bounds, scale = batch
    edges = [0, *bounds, len(features)]
    stream = Moments(num_classes=num_classes, dim=features.shape[1])
    for start, stop in itertools.pairwise(edges):
        stream.update(features[start:stop], class_indices[start:stop])
    assert_same(stream, merged(accumulate(features, class_indices, num_classes, bounds)), scale)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
@settings(deadline=None)
def test_scatter_is_right_to_the_last_digits(values):
    """Against exact rational arithmetic, also where the first sample, the shift, is an outlier."""
    moments = Moments(num_classes=1, dim=1)
    moments.update(torch.tensor(values, dtype=torch.float64)[:, None], torch.zeros(len(values), dtype=torch.int64))
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    scatter = float(sum((value - mean) ** 2 for value in exact))
    assert math.isclose(float(moments.scatter), scatter, rel_tol=1e-12, abs_tol=1e-300)
    assert math.isclose(float(moments.means), float(mean), rel_tol=1e-12, abs_tol=1e-9)


@given(st.floats(-1e30, 1e30), st.integers(1, 20), st.integers(1, 20))
def test_samples_that_are_alike_have_no_scatter(value, first, second):
    parts = []
    for size in (first, second):
        part = Moments(num_classes=1, dim=2)
        part.update(torch.full((size, 2), value, dtype=torch.float64), torch.zeros(size, dtype=torch.int64))
        parts.append(part)
    total = merged(parts)
    assert total.scatter.tolist() == [0.0]
    assert total.means.tolist() == [[value, value]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_is_summed_in_float64(dtype):
    generator = torch.Generator().manual_seed(0)
    features = (torch.randn(5000, 3, generator=generator) + 100).to(dtype)
    class_indices = torch.arange(5000) % 2
    [moments] = accumulate(features, class_indices, 2)
    [exact] = accumulate(features.to(torch.float64), class_indices, 2)
    assert_same(moments, exact, 100)
    assert moments.sums.dtype == torch.float64


def test_gradients_are_left_alone():
    features = torch.ones(2, 3, requires_grad=True)
    [moments] = accumulate(features, torch.tensor([0, 1]), 2)
    assert not moments.means.requires_grad


def test_an_empty_batch_changes_nothing():
    [moments] = accumulate(torch.ones(2, 3), torch.tensor([0, 1]), 3)
    moments.update(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    assert moments.counts.tolist() == [1, 1, 0]
    assert moments.means[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("features", "class_indices", "message"),
    [
        (torch.ones(2, 4), torch.tensor([0, 1]), "flatten the trailing axes"),
        (torch.ones(2, 3, 1), torch.tensor([0, 1]), "flatten the trailing axes"),
        (torch.ones(2, 3), torch.tensor([0]), "one for each row"),
        (torch.ones(2, 3), torch.tensor([0, 2]), "number the classes from 0"),
        (torch.ones(2, 3), torch.tensor([-1, 0]), "number the classes from 0"),
    ],
)
def test_what_does_not_fit_is_refused(features, class_indices, message):
    with pytest.raises(ValueError, match=message):
        Moments(num_classes=2, dim=3).update(features, class_indices)


def test_moments_of_other_shapes_are_not_merged():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
        Moments(num_classes=2, dim=3).merge(Moments(num_classes=2, dim=4))
    with pytest.raises(ValueError, match="at least 1"):
        Moments(num_classes=0, dim=4)


def naive_scatter_matrix(features, class_indices):
    residuals = features.clone()
    for index in class_indices.unique():
        residuals[class_indices == index] -= features[class_indices == index].mean(dim=0)
    return residuals.T @ residuals


@given(batches())
@settings(deadline=None)
def test_scatter_matrix_is_that_of_the_residuals(batch):
    features, class_indices, num_classes, _, scale = batch
    [moments] = accumulate(features, class_indices, num_classes, second_moments="matrix")
    expected = naive_scatter_matrix(features, class_indices)
    torch.testing.assert_close(moments.scatter_matrix, expected, rtol=1e-8, atol=1e-12 * scale**2)
    torch.testing.assert_close(moments.scatter_matrix.trace(), moments.scatter.sum(), rtol=1e-9, atol=1e-13 * scale**2)


@given(batches(), kinds, st.booleans())
@settings(deadline=None)
def test_moments_that_somebody_has_are_the_same_again(batch, kind, relative):
    features, class_indices, num_classes, bounds, scale = batch
    parts = accumulate(features, class_indices, num_classes, bounds, second_moments=kind)
    again = [
        Moments.of(
            counts=part.counts,
            means=part.offsets if relative else part.means,
            shift=part.shift if relative else None,
            scatter=part.scatter,
            scatter_matrix=part.scatter_matrix,
        )
        for part in parts
    ]
    assert_same(merged(again), merged(parts), scale)


@given(batches())
@settings(deadline=None)
def test_projected_scatter_of_several_processes_adds_up(batch):
    features, class_indices, num_classes, bounds, scale = batch
    whole = merged(accumulate(features, class_indices, num_classes, bounds, second_moments="matrix"))
    total = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    for start, stop in itertools.pairwise([0, *bounds, len(features)]):
        projected = ProjectedScatter(whole)
        projected.update(features[start:stop], class_indices[start:stop])
        total += projected.matrix()
    seen = whole.counts > 0
    centered = torch.zeros_like(whole.means)
    centered[seen] = whole.means[seen] - whole.means[seen].mean(dim=0)
    expected = centered @ whole.scatter_matrix @ centered.T
    size = float(centered.norm()) ** 2
    torch.testing.assert_close(total, expected, rtol=1e-8, atol=1e-12 * scale**2 * (size + scale**2))


def test_a_matrix_is_lost_where_one_part_has_none():
    features, class_indices = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    [matrix] = accumulate(features, class_indices, 2, second_moments="matrix")
    [trace] = accumulate(features, class_indices, 2)
    matrix.merge(trace)
    assert matrix.scatter_matrix is None
    assert matrix.counts.tolist() == [6, 6]


@pytest.mark.parametrize(
    ("offset", "noise", "lost"),
    [(0.0, 1.0, False), (10.0, 1.0, False), (1e3, 1.0, True), (1.0, 1e-3, True), (1.0, 0.0, True)],
)
def test_moments_around_zero_tell_when_they_lost_digits(offset, noise, lost):
    generator = torch.Generator().manual_seed(0)
    features = offset + noise * torch.randn(400, 5, generator=generator, dtype=torch.float64)
    class_indices = torch.arange(400) % 2
    [around_zero] = accumulate(features, class_indices, 2, shifted=False)
    [around_samples] = accumulate(features, class_indices, 2)
    assert around_zero.lost_digits is lost
    assert not around_samples.lost_digits
    if not lost:
        torch.testing.assert_close(around_zero.scatter, around_samples.scatter, rtol=1e-11, atol=0)


def test_a_kind_of_second_moments_that_there_is_not():
    with pytest.raises(ValueError, match="'trace' or 'matrix', not 'all'"):
        Moments(num_classes=2, dim=3, second_moments="all")
