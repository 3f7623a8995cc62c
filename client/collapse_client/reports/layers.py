"""One layer of a report."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from collapse_client.reports.view import View

Metrics = Dict[str, Optional[float]]
"""Name → value; null where it is undefined, with a warning that says why."""


class Warning(View):
    """One reason, and all metrics that it touches."""

    code: str
    metrics: List[str]
    detail: str


class Spectra(View):
    """Singular values, largest first; null where they were not asked for or cannot be had."""

    class_means: Optional[List[float]]
    features: Optional[List[float]]
    weights: Optional[List[float]]


class ClassReport(View):
    """One class of a layer."""

    label: int
    count: int
    variance: Optional[float]
    norm: Optional[float]
    nearest_center_accuracy: Optional[float]
    nearest_class: Optional[int]
    nearest_class_distance: Optional[float]


class Structure(View):
    """The symmetric form that the class means take, or how far they are from any."""

    kind: str
    name: Optional[str]
    parameters: Optional[Dict[str, int]]
    distance: float
    nearest: str
    distances: Dict[str, float]
    edges: Optional[List[List[int]]]
    tolerance: float


class Measurements(View):
    """What was measured of one layer on one set of samples."""

    metrics: Metrics
    details: Dict[str, Dict[str, Any]]
    ranks_used: Dict[str, int]
    spectra: Spectra
    class_mean_gram: Optional[List[List[float]]]
    structure: Optional[Structure]
    per_class: Optional[List[ClassReport]]
    warnings: List[Warning]


class SplitReport(Measurements):
    """The same layer on the samples of another split."""

    num_samples: int
    num_classes: int
    class_counts: Dict[str, int]


class LayerReport(Measurements):
    """One layer: every metric that was asked for, by name."""

    name: str
    index: int
    dim: int
    splits: Dict[str, SplitReport]
