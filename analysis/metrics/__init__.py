"""Every metric, one decorated function each, in families; importing a family registers its metrics.

A new metric is one function in the family where it belongs, and its naive reference in tests/analysis/reference.py.
Nothing here imports torch: the API shows the catalogue without it.
"""

from analysis.metrics import variability, geometry, classifier, weights, ranks, unlabelled  # noqa: F401, I001 (in the order of the menu)
from analysis.metrics.registry import REGISTRY, Measured, Metric, catalogue, metric

__all__ = ["REGISTRY", "Measured", "Metric", "catalogue", "metric"]
