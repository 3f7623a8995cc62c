"""Comparing the metrics of two layers, or of the same layer measured in two ways."""

import pytest


def assert_same_metrics(left, right, *, rel, names=None):
    """Relative difference of every metric, but for values that are themselves rounding; null only where both are."""
    for name in names if names is not None else right.metrics:
        expected = right.metrics[name]
        if expected is None:
            assert left.metrics[name] is None, name
        else:
            assert left.metrics[name] == pytest.approx(expected, rel=rel, abs=1e-13), name
