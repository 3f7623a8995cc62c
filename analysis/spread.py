"""Measure a large feature set in parts by many jobs, in two rounds, with the report that one job would give.

Round one: the moments of some parts each; merged pairwise, they are those of the whole. Round two, where a metric needs
it: sums over the samples of some parts each, against the class means of the whole. The parent then measures by moments
and sums, and opens no samples.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.collapse import measure as measure_here
from analysis.collapse import measure_origin, report_of
from analysis.commands import AccumulateMoments, ChildJob, ChildrenFirst, FindResiduals
from analysis.errors import ChildFailed, UndefinedMetric
from analysis.measurement import Measurement
from analysis.metrics import REGISTRY
from analysis.origin import Origin, Split
from analysis.partial_results import Enclosed, ResidualSums, write_enclosures
from collapse_client.format import (
    FeatureFile,
    FeaturesDescription,
    MomentsFile,
    merge_descriptions,
    open_features,
    write_moments,
)
from collapse_client.format.moments import Moments
from collapse_client.format.moments_rules import MAX_MATRIX_DIM

if TYPE_CHECKING:
    from analysis.commands import Features, FeaturesOutline, MeasureCollapse, Surroundings
    from analysis.commands.measure_parts import PartsCommand
    from analysis.report import MetricEntry, Report

GROUP_BYTES = 64 << 20
"""Of the samples of one job, at least: some tenths of a second of work."""
MOST_GROUPS = 64
LARGEST_SHARE = 0.25
"""Of the bytes of a group, what its moments may have: more of them would be carried than is gained."""
ENCLOSURES, RESIDUALS = "enclosures.safetensors", "residuals.safetensors"
NEED_RESIDUALS = {"samples", "projected_scatter"}


def measure(command: MeasureCollapse, surroundings: Surroundings) -> Report | ChildrenFirst:
    """Measure here, or have others measure first; see `analysis.collapse.measure`."""
    if surroundings.spread_bytes is None:
        return measure_here(command, surroundings)
    outline = surroundings.outline_features(command.features)
    children = surroundings.children()
    if not children:
        groups = _groups(command, surroundings, outline)
        if len(groups) < 2:
            return measure_here(command, surroundings)
        return ChildrenFirst([_accumulate(command, start, stop) for start, stop in groups])
    _require_success(children)
    first = [child for child in children if child.kind == "accumulate_moments"]
    second = [child for child in children if child.kind == "find_residuals"]
    return _Gathering(command, surroundings, outline, first).go_on(second)


def moments_name(split: Split) -> str:
    """The artifact with the moments of a split: a feature file of its own."""
    return "moments.safetensors" if split is None else f"moments-{split}.safetensors"


# -- the children ----------------------------------------------------------------------------------------------------


def accumulate_moments(command: AccumulateMoments, surroundings: Surroundings) -> Report:
    """Moments of the parts, in the same form that the whole is measured by, and what came along with them."""
    started = time.perf_counter()
    outline = surroundings.outline_features(command.of.features)
    with surroundings.open_features(
        command.of.features, first_part=command.first_part, stop_part=command.stop_part
    ) as features:
        origin = replace(_outlined(outline), samples=_samples(features))
        measurement = Measurement(command.of, surroundings, origin)
        moments: dict[Split, dict[str, Moments]] = {split: {} for split in measurement.splits}
        for name, split in measurement.each():
            moments[split][name] = _around_means(measurement.moments(name, split))
        for split, of_layers in moments.items():
            _keep_moments(surroundings, split, origin, of_layers)
        if content := write_enclosures(features.parts, outline.layers):
            surroundings.keep_artifact(ENCLOSURES, content)
    return _piece(command, surroundings, outline, started)


def find_residuals(command: FindResiduals, surroundings: Surroundings) -> Report:
    """The second pass over the parts, with the class means of the whole."""
    started = time.perf_counter()
    outline = surroundings.outline_features(command.of.features)
    sums = ResidualSums()
    with (
        surroundings.open_features(
            command.of.features, first_part=command.first_part, stop_part=command.stop_part
        ) as features,
        _kept(surroundings, command.parent, outline) as (moments, enclosed),
    ):
        origin = replace(_outlined(outline), samples=_samples(features), moments=moments, enclosures=[enclosed])
        measurement = Measurement(command.of, surroundings, origin)
        for name, split in measurement.each():
            try:
                sums.add(name, split, measurement.statistics(name, split).residuals)
            except UndefinedMetric as reason:
                sums.add(name, split, reason)
    surroundings.keep_artifact(RESIDUALS, sums.to_bytes())
    return _piece(command, surroundings, outline, started)


def _piece(command: PartsCommand, surroundings: Surroundings, outline: FeaturesOutline, started: float) -> Report:
    own = merge_descriptions(outline.parts[command.first_part : command.stop_part])
    timings = {"total_seconds": time.perf_counter() - started}
    return report_of(command, surroundings, own.class_counts, timings=timings)


# -- the parent ------------------------------------------------------------------------------------------------------


class _Gathering:
    """What the parent does once its first children have ended."""

    def __init__(
        self,
        command: MeasureCollapse,
        surroundings: Surroundings,
        outline: FeaturesOutline,
        first: Sequence[ChildJob],
    ) -> None:
        self._command, self._surroundings, self._outline, self._first = command, surroundings, outline, first

    def go_on(self, second: Sequence[ChildJob]) -> Report | ChildrenFirst:
        """Ask for the second round if it is needed and has not been; else the report."""
        if not second:
            self._merge()
            if any(entry.needs in NEED_RESIDUALS for entry in self._entries()):
                return ChildrenFirst([self._find_residuals(child) for child in self._first])
        started = time.perf_counter()
        job_id = self._surroundings.job_id
        with _kept(self._surroundings, job_id, self._outline) as (moments, enclosed):
            origin = replace(
                _outlined(self._outline),
                moments=moments,
                enclosures=[enclosed],
                residuals=ResidualSums.together(
                    [_there(self._surroundings, child.job_id, RESIDUALS).read_bytes() for child in second]
                ),
            )
            children_seconds = sum(_seconds(child) for child in [*self._first, *second])
            return measure_origin(
                self._command, self._surroundings, origin, started=started, children_seconds=children_seconds
            )

    def _entries(self) -> Iterator[MetricEntry]:
        return (REGISTRY[metric].entry for metric in self._command.metrics or REGISTRY)

    def _find_residuals(self, child: ChildJob) -> FindResiduals:
        asked = child.parameters
        return FindResiduals(
            kind="find_residuals",
            of=self._command,
            first_part=asked["first_part"],
            stop_part=asked["stop_part"],
            parent=self._surroundings.job_id,
        )

    def _merge(self) -> None:
        """Keep the moments of the whole, and all that came along with any part."""
        splits = _splits(self._outline)
        layers = self._command.layers or tuple(self._outline.layers)
        origin = _outlined(self._outline)
        for split in splits:
            with ExitStack() as stack:
                files = [
                    stack.enter_context(_moments_file(_there(self._surroundings, child.job_id, moments_name(split))))
                    for child in self._first
                    if self._surroundings.artifact(child.job_id, moments_name(split))
                ]
                whole = replace(origin, moments={split: files})
                measurement = Measurement(self._command, self._surroundings, whole)
                merged = {name: measurement.moments(name, split) for name in layers}
                _keep_moments(self._surroundings, split, origin, merged)
        paths = [self._surroundings.artifact(child.job_id, ENCLOSURES) for child in self._first]
        if content := write_enclosures([Enclosed(path) for path in paths if path], self._outline.layers):
            self._surroundings.keep_artifact(ENCLOSURES, content)


def _seconds(child: ChildJob) -> float:
    return float(child.report["timings"]["total_seconds"]) if child.report else 0.0


def _require_success(children: Sequence[ChildJob]) -> None:
    for child in children:
        if child.status != "succeeded":
            raise ChildFailed(
                child.error_code or "child_cancelled",
                child.error_detail or f"Job {child.job_id}, a part of this one, was cancelled: submit it anew.",
            )


# -- what both have in common ----------------------------------------------------------------------------------------


def _accumulate(command: MeasureCollapse, start: int, stop: int) -> AccumulateMoments:
    return AccumulateMoments(kind="accumulate_moments", of=command, first_part=start, stop_part=stop)


def _groups(
    command: MeasureCollapse, surroundings: Surroundings, outline: FeaturesOutline
) -> Sequence[tuple[int, int]]:
    """Ranges of parts, each worth a job; one of them, or none, where the set is not worth it or cannot be spread."""
    total = sum(outline.part_bytes)
    if surroundings.spread_bytes is None or total < surroundings.spread_bytes or len(outline.parts) < 2:
        return ()
    if any(layer.second_moments is not None for part in outline.parts for layer in part.layers):
        return ()  # moments already
    carried = _moments_bytes(Measurement(command, surroundings, _outlined(outline)), outline)
    if carried is None:
        return ()
    least = max(GROUP_BYTES, total / MOST_GROUPS, carried / LARGEST_SHARE)
    return _evenly(outline.part_bytes, groups=int(total // least))


def _evenly(part_bytes: Sequence[int], *, groups: int) -> Sequence[tuple[int, int]]:
    """Ranges of parts that follow each other, of about the same size.

    >>> _evenly([1, 1, 1, 1, 1], groups=2)
    [(0, 3), (3, 5)]
    """
    if groups < 2:
        return ()
    ranges: list[tuple[int, int]] = []
    target, start, before = sum(part_bytes) / groups, 0, 0
    for index, size in enumerate(part_bytes, 1):
        before += size
        if before >= target * (len(ranges) + 1) or index == len(part_bytes):
            ranges.append((start, index))
            start = index
    return ranges


def _moments_bytes(measurement: Measurement, outline: FeaturesOutline) -> int | None:
    """Of the moments of one group; None where the whole would be measured by what moments cannot tell."""
    splits, dims = _splits(outline), _dims(outline)
    total = 0
    for name in measurement.names:
        for split in measurement.splits:
            if measurement.way(name, split, has_samples=True) == "rows":
                return None
            matrix = measurement.second_moments(name, split, has_samples=True) == "matrix"
            if matrix and dims[name] > MAX_MATRIX_DIM:
                return None
            total += 8 * dims[name] * (2 * len(splits[split]) + (dims[name] if matrix else 0))
    return total


def _splits(outline: FeaturesOutline) -> Mapping[Split, dict[int, int]]:
    whole = merge_descriptions(outline.parts)
    by_split: dict[Split, dict[int, int]] = dict(whole.split_class_counts.items())
    return by_split or {None: whole.class_counts}


def _dims(outline: FeaturesOutline) -> Mapping[str, int]:
    first: FeaturesDescription = outline.parts[0]
    return {layer.name: layer.dim for layer in first.layers}


def _outlined(outline: FeaturesOutline) -> Origin:
    """The whole set, as far as it is known without its files."""
    return Origin(layers=outline.layers, dims=_dims(outline), splits=_splits(outline))


def _samples(features: Features) -> list[FeatureFile]:
    """The open files; a set that is spread has samples in all of them."""
    return [part for part in features.parts if isinstance(part, FeatureFile)]


def _around_means(moments: Moments) -> Moments:
    """The same around the class means: sums around 0 would lose their digits when they are merged."""
    if bool(moments.shift.any()):
        return moments
    return Moments.of(
        counts=moments.counts,
        means=moments.means,
        scatter=moments.scatter,
        scatter_matrix=moments.scatter_matrix,
    )


def _keep_moments(surroundings: Surroundings, split: Split, origin: Origin, moments: Mapping[str, Moments]) -> None:
    """Nothing where the split has no samples here."""
    if not any(int(of_layer.counts.sum()) for of_layer in moments.values()):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moments"
        write_moments(path, classes=tuple(origin.splits[split]), moments=moments)
        surroundings.keep_artifact(moments_name(split), path.read_bytes())


@contextmanager
def _kept(
    surroundings: Surroundings, job_id: str, outline: FeaturesOutline
) -> Iterator[tuple[Mapping[Split, Sequence[MomentsFile]], Enclosed]]:
    """The moments of the whole, and what came along, as the parent has kept them."""
    with ExitStack() as stack:
        moments = {
            split: [stack.enter_context(_moments_file(_there(surroundings, job_id, moments_name(split))))]
            for split in _splits(outline)
        }
        yield moments, Enclosed(surroundings.artifact(job_id, ENCLOSURES))


def _moments_file(path: Path) -> MomentsFile:
    file = open_features(path, max_inflated_bytes=path.stat().st_size)
    assert isinstance(file, MomentsFile), "written as such"
    return file


def _there(surroundings: Surroundings, job_id: str, name: str) -> Path:
    path = surroundings.artifact(job_id, name)
    if path is None:
        raise ChildFailed("part_lost", f"What job {job_id} had found is no longer there: submit the job anew.")
    return path
