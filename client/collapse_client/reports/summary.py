"""The report in short: what follows from its numbers by its own `rules`."""

from __future__ import annotations

from typing import Dict, List, Optional

from collapse_client.reports.view import View


class Reached(View):
    """A metric against its threshold."""

    value: float
    threshold: float
    reached: bool


class LayerSummary(View):
    """One layer in short."""

    name: str
    index: int
    collapsed: Optional[bool]
    by: List[str]
    not_by: List[str]
    deciding: Dict[str, Reached]
    structure: Optional[str]
    rank: Optional[int]
    centered_rank: Optional[int]
    dnc_rank: int
    srg_rank: float
    rank_is: Optional[str]


class RankDrop(View):
    """Two neighbouring layers, the later of smaller class-mean rank."""

    before: str
    after: str
    rank_before: int
    rank_after: int


class Change(View):
    """A number then and now."""

    before: Optional[float]
    now: Optional[float]


class LayerChange(View):
    """What changed in a layer since the step before."""

    name: str
    collapsed_before: Optional[bool]
    collapsed_now: Optional[bool]
    structure_before: Optional[str]
    structure_now: Optional[str]
    rank: Change
    metrics: Dict[str, Change]


class SinceStep(View):
    """What changed since the step before of the same run."""

    job_id: str
    step: int
    layers: List[LayerChange]


class Summary(View):
    """The report in short."""

    collapsed_layers: List[str]
    layers: List[LayerSummary]
    rank_drops: List[RankDrop]
    since_previous_step: Optional[SinceStep]
    rules: Dict[str, str]
