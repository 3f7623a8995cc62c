"""The report in short: what follows from its numbers by the rules of the catalogue and of this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from analysis.metrics.ranks import srg_rank
from analysis.report import (
    Change,
    LayerChange,
    LayerReport,
    LayerSummary,
    MetricEntry,
    RankDrop,
    Reached,
    SinceStep,
    Summary,
)

RULES = {
    "collapsed": "every metric that decides (catalogue: decides) and was measured reaches its threshold",
    "by": "metrics with a threshold that they reach: at most it for direction lower, at least it for higher",
    "structure": "the most special ideal that is no further from the Gram matrix of the class means than its tolerance",
    "rank": "class_mean_rank, at the rank_tolerance of its details; centered_rank: centered_class_mean_rank",
    "rank_is": "full: rank ≥ K − 1; low: rank ≤ r of K = r(r−1)/2, about √(2K); reduced: between the two",
    "rank_drops": "a layer of smaller class_mean_rank than the one before it",
    "since_previous_step": "against the greatest smaller step of the same run that had a report by then",
}


def summarize(
    layers: Sequence[LayerReport],
    catalogue: Mapping[str, MetricEntry],
    *,
    num_classes: int,
    previous: Mapping[str, Any] | None,
) -> Summary:
    """The summary of these layers; `previous` is the report of an earlier step, as JSON."""
    found = tuple(_summary_of(layer, catalogue, num_classes) for layer in layers)
    return Summary(
        collapsed_layers=tuple(layer.name for layer in found if layer.collapsed),
        layers=found,
        rank_drops=tuple(_rank_drops(found)),
        since_previous_step=_since(previous, layers, found, catalogue) if previous else None,
        rules=RULES,
    )


def _summary_of(layer: LayerReport, catalogue: Mapping[str, MetricEntry], num_classes: int) -> LayerSummary:
    against = {
        name: Reached(value=value, threshold=entry.threshold, reached=_reaches(value, entry.threshold, entry.direction))
        for name, entry in catalogue.items()
        if entry.threshold is not None and (value := layer.metrics.get(name)) is not None
    }
    deciding = {name: found for name, found in against.items() if catalogue[name].decides}
    rank, centered_rank = (
        None if (value := layer.metrics.get(name)) is None else int(value)
        for name in ("class_mean_rank", "centered_class_mean_rank")
    )
    structure = layer.structure.kind if layer.structure else None
    return LayerSummary(
        name=layer.name,
        index=layer.index,
        collapsed=all(found.reached for found in deciding.values()) if deciding else None,
        by=tuple(name for name, found in against.items() if found.reached),
        not_by=tuple(name for name, found in against.items() if not found.reached),
        deciding=deciding,
        structure=structure,
        rank=rank,
        centered_rank=centered_rank,
        dnc_rank=num_classes - 1 if structure == "simplex_etf" else num_classes,
        srg_rank=srg_rank(num_classes),
        rank_is=None if rank is None else _standing(rank, num_classes),
    )


def _reaches(value: float, threshold: float, direction: str | None) -> bool:
    return value >= threshold if direction == "higher" else value <= threshold


def _standing(rank: int, num_classes: int) -> Literal["full", "reduced", "low"]:
    if rank >= num_classes - 1:
        return "full"
    return "low" if rank <= srg_rank(num_classes) else "reduced"


def _rank_drops(layers: Sequence[LayerSummary]) -> Iterator[RankDrop]:
    for before, after in pairwise(layers):
        if before.rank is not None and after.rank is not None and after.rank < before.rank:
            yield RankDrop(before=before.name, after=after.name, rank_before=before.rank, rank_after=after.rank)


def _since(
    previous: Mapping[str, Any],
    layers: Sequence[LayerReport],
    summaries: Sequence[LayerSummary],
    catalogue: Mapping[str, MetricEntry],
) -> SinceStep:
    """What changed in the layers that both steps have."""
    earlier = {layer["name"]: layer for layer in previous["layers"]}
    # Reports from before there were summaries have none.
    verdicts = {layer["name"]: layer for layer in (previous.get("summary") or {}).get("layers", ())}
    changes = []
    for layer, summary in zip(layers, summaries, strict=True):
        if layer.name not in earlier:
            continue
        before, verdict = earlier[layer.name]["metrics"], verdicts.get(layer.name, {})
        changes.append(
            LayerChange(
                name=layer.name,
                collapsed_before=verdict.get("collapsed"),
                collapsed_now=summary.collapsed,
                structure_before=verdict.get("structure"),
                structure_now=summary.structure,
                rank=Change(before=before.get("class_mean_rank"), now=summary.rank),
                metrics={
                    name: Change(before=before[name], now=value)
                    for name, value in layer.metrics.items()
                    if name in before and catalogue[name].threshold is not None
                },
            )
        )
    return SinceStep(job_id=previous["job_id"], step=previous["step"], layers=tuple(changes))
