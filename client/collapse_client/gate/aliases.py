"""Well-known names of metrics: what a gate's conditions and the tables on a terminal call them."""

from __future__ import annotations

ALIASES = {
    "rank": "class_mean_rank",
    "centered_rank": "centered_class_mean_rank",
    "effective_rank": "class_mean_effective_rank",
    "stable_rank": "class_mean_stable_rank",
    "nc1": "within_class_variability",
    "trace_ratio": "variability_trace_ratio",
    "cdnv": "class_distance_normalized_variance",
    "vci": "variability_collapse_index",
    "nc2": "simplex_etf_distance",
    "nc3": "self_duality_distance",
    "nc4": "nearest_center_mismatch",
    "ncc": "nearest_center_accuracy",
}
"""Short name → name in the catalogue. NC1 is the one with the pseudo-inverse, tr(Σ_W Σ_B⁺)/K, as first published;
`trace_ratio` takes no inverse and serves where class means have low rank."""


def metric_name(name: str) -> str:
    """Return the catalogue's name of a metric.

    >>> metric_name("NC1"), metric_name("equinorm")
    ('within_class_variability', 'equinorm')
    """
    return ALIASES.get(name.lower(), name)
