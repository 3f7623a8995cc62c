"""The registry: one decorated function is a metric. Schema, catalogue, report and tests loop over it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from analysis.report import Conventions, MetricEntry, Needs, Scope, Warning

if TYPE_CHECKING:
    from analysis.statistics import LayerStatistics


@dataclass(frozen=True)
class Measured:
    """A value with what belongs to it; a metric without details returns a bare float instead."""

    value: float
    details: Mapping[str, float | int | str] = field(default_factory=dict)
    warnings: tuple[Warning, ...] = ()


MetricFunction = Callable[["LayerStatistics"], "float | Measured"]


@dataclass(frozen=True)
class Metric:
    """A function of a layer's statistics, and its entry in the catalogue."""

    entry: MetricEntry
    function: MetricFunction

    def __call__(self, layer: LayerStatistics) -> Measured:
        """Compute; raises UndefinedMetric where the metric has no value."""
        result = self.function(layer)
        return result if isinstance(result, Measured) else Measured(float(result))


REGISTRY: dict[str, Metric] = {}
"""Every metric by name, in the order of the menu."""


def metric(
    *,
    formula: str,
    ideal: float | str | None,
    scale: Literal["linear", "log"],
    direction: Literal["lower", "higher"] | None,
    reference: str,
    scope: Scope = "layer",
    needs: Needs = "means",
    threshold: float | None = None,
    decides: bool = False,
    name: str | None = None,
    title: str | None = None,
    centre: str | None = None,
    weighting: str | None = None,
    divisor: str | None = None,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function as a metric: its name is the function's, its title the first line of the docstring.

    A function that serves several metrics gives `name` and `title` of each.
    """

    def register(function: MetricFunction) -> MetricFunction:
        own_name = name or function.__name__
        if own_name in REGISTRY:
            raise ValueError(f"there is a metric {own_name!r} already: choose another name")
        entry = MetricEntry(
            name=own_name,
            title=title or (inspect.getdoc(function) or "").partition("\n")[0].rstrip("."),
            formula=formula,
            ideal=ideal,
            scale=scale,
            direction=direction,
            scope=scope,
            needs=needs,
            threshold=threshold,
            decides=decides,
            reference=reference,
            conventions=Conventions(centre=centre, weighting=weighting, divisor=divisor),
        )
        REGISTRY[own_name] = Metric(entry, function)
        return function

    return register


def catalogue() -> dict[str, MetricEntry]:
    """The entries of all metrics, by name."""
    return {name: known.entry for name, known in REGISTRY.items()}
