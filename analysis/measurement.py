"""The measuring of a feature set: which moments each layer and split is measured by, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

import torch

from analysis.applied_weights import AppliedWeights
from analysis.classes import ClassCounts
from analysis.errors import UndefinedMetric, UnknownLayer
from analysis.layer_report import report_layer
from analysis.layer_source import LayerSource
from analysis.metrics import REGISTRY
from analysis.origin import Origin, Split
from analysis.report import LayerReport, Measurements, SplitReport
from analysis.second_moments import CHEAP_MULTIPLY_ADDS, Way, choose_way
from analysis.singular_values import LARGEST_GRAM
from analysis.statistics import LayerStatistics, Samples
from analysis.tiles import LayerTiles, Tile
from collapse_client.format.moments import Moments

if TYPE_CHECKING:
    from analysis.commands import MeasureCollapse, Surroundings

PASSES = 2
"""Over the samples of a layer, for progress; one that no metric needs counts as done when the layer is."""


class Measurement:
    """What the layers of one set have in common."""

    def __init__(self, command: MeasureCollapse, surroundings: Surroundings, origin: Origin) -> None:
        self.metrics = command.metrics or tuple(REGISTRY)
        self.names = command.layers or tuple(origin.layers)
        self.reading_seconds = 0.0
        self._command = command
        self._surroundings = surroundings
        self._origin = origin
        unknown = [name for name in self.names if name not in origin.layers]
        if unknown:
            raise UnknownLayer(
                "invalid_request",
                f"the features have no layer {unknown[0]!r}: their layers are {', '.join(map(repr, origin.layers))}",
            )
        self.splits = tuple(origin.splits)
        self.class_counts = origin.splits[self.splits[0]]
        self._progress = _Progress(
            surroundings.progress,
            sizes=[PASSES * origin.num_rows * origin.dims[name] * len(self.splits) for name in self.names],
        )

    # -- reports ---------------------------------------------------------------------------------------------------

    def layer(self, index: int) -> LayerReport:
        """Measure the layer at this place of the report."""
        name = self.names[index]
        with self._progress.layer(index, name):
            first = self._split(name, self.splits[0])
            others = {str(split): self._other_split(name, split) for split in self.splits[1:]}
        return LayerReport(name=name, index=index, dim=self._origin.dims[name], splits=others, **dict(first))

    def _other_split(self, name: str, split: Split) -> SplitReport:
        counts = self._origin.splits[split]
        return SplitReport(
            num_samples=sum(counts.values()),
            num_classes=len(counts),
            class_counts=named(counts),
            **dict(self._split(name, split)),
        )

    def _split(self, name: str, split: Split) -> Measurements:
        tiles = self._tiles(name, split)
        source, whole = self._source(name, split, tiles), not self._origin.moments.get(split)
        measurements = report_layer(
            self._statistics(name, split, tiles, source, whole=whole),
            labels=self._labels(split),
            metrics=self.metrics,
            spectra=self._command.spectra,
        )
        self.reading_seconds += tiles.reading_seconds
        return measurements

    # -- pieces of a measurement that is spread ----------------------------------------------------------------------

    def each(self) -> Iterator[tuple[str, Split]]:
        """Every layer and split, with progress."""
        for index, name in enumerate(self.names):
            with self._progress.layer(index, name):
                for split in self.splits:
                    yield name, split

    def moments(self, name: str, split: Split) -> Moments:
        """Moments of a layer, of the samples that are looked at here and of what was sent."""
        return self._moments(self._source(name, split, self._tiles(name, split)), name, split)

    def statistics(self, name: str, split: Split) -> LayerStatistics:
        """Statistics of a layer by the moments of the whole set, whose samples are looked at here in part."""
        return self._statistics(name, split, self._tiles(name, split), self._source(name, split, ()), whole=True)

    def way(self, name: str, split: Split, *, has_samples: bool) -> Way | UndefinedMetric:
        """Which matrix to form of a layer's second moments, or why none."""
        counts = self._origin.splits[split]
        return choose_way(
            num_samples=sum(counts.values()),
            num_classes=len(counts),
            dim=self._origin.dims[name],
            budget=self._second_moments_budget,
            has_samples=has_samples,
        )

    def second_moments(self, name: str, split: Split, *, has_samples: bool) -> str:
        """What is kept of the scatter of a layer."""
        # Where d < K the d × d matrix is smaller than the K × K one that NC1 would need of the second pass.
        small = self._origin.dims[name] < min(len(self._origin.splits[split]), LARGEST_GRAM)
        return "matrix" if small or self.way(name, split, has_samples=has_samples) == "columns" else "trace"

    # ----------------------------------------------------------------------------------------------------------------

    def _tiles(self, name: str, split: Split) -> LayerTiles:
        dim = self._origin.dims[name]
        return LayerTiles(
            self._origin.samples,
            layer=name,
            dim=dim,
            labels=self._labels(split),
            split=split,
            device=self._surroundings.device,
            advance=lambda rows: self._progress.advance(rows * dim),
        )

    def _source(self, name: str, split: Split, tiles: Iterable[Tile]) -> LayerSource:
        return LayerSource(
            moments=self._origin.moments.get(split, ()),
            enclosures=self._origin.enclosures,
            layer=name,
            labels=self._labels(split),
            tiles=tiles,
            device=self._surroundings.device,
        )

    def _moments(self, source: LayerSource, name: str, split: Split) -> Moments:
        kept = self.second_moments(name, split, has_samples=not self._origin.moments.get(split))
        return source.moments(dim=self._origin.dims[name], second_moments=kept)

    def _statistics(
        self, name: str, split: Split, tiles: LayerTiles, source: LayerSource, *, whole: bool
    ) -> LayerStatistics:
        """source: of the moments. whole: of the samples in `tiles` all is asked that samples alone can tell."""
        return LayerStatistics(
            self._moments(source, name, split),
            samples=Samples(
                tiles=tiles if whole else None,
                residuals=self._origin.residuals.get((name, split)),
                projected_scatter=source.projected_scatter,
                ood_mean=source.ood_mean(self._origin.dims[name]),
            ),
            weights=self._weights(name, source, num_classes=len(self._origin.splits[split])),
            rank_tolerance=self._command.rank_tolerance,
            class_weighting=self._command.class_weighting,
            second_moments=self.way(name, split, has_samples=whole),
        )

    def _labels(self, split: Split) -> tuple[int, ...]:
        return tuple(self._origin.splits[split])

    @property
    def _second_moments_budget(self) -> float:
        """Multiply-adds for all second moments: any number where they are asked for, none where nothing needs them."""
        needed = any(REGISTRY[metric].entry.needs == "scatter_matrix" for metric in self.metrics)
        if "features" in self._command.spectra or (needed and self._command.metrics):
            return inf
        return CHEAP_MULTIPLY_ADDS if needed else 0.0

    def _weights(self, name: str, source: LayerSource, *, num_classes: int) -> AppliedWeights:
        order = list(self._origin.layers)
        following = next(self._weights_of(order[order.index(name) + 1 :]), None)
        return AppliedWeights(
            layer=name,
            last_layer=order[-1],
            num_classes=num_classes,
            matrix=source.matrix("weights"),
            bias=source.matrix("biases"),
            following=following,
        )

    def _weights_of(self, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for name in names:
            for enclosed in self._origin.enclosures:
                weights = enclosed.weights(name)
                if weights is not None:
                    yield name, torch.from_numpy(weights).to(self._surroundings.device)


class _Progress:
    """Counts the values read: layers differ in width, and the fraction shall be fair."""

    def __init__(self, tell: Callable[..., None], *, sizes: Sequence[int]) -> None:
        self._tell = tell
        self._sizes = sizes
        self._total = max(1, sum(sizes))
        self._phase = ""
        self._before = self._read = self._here = 0

    @contextmanager
    def layer(self, index: int, phase: str) -> Iterator[None]:
        """Everything that is read within belongs to this layer."""
        self._phase, self._before, self._here, self._read = phase, sum(self._sizes[:index]), self._sizes[index], 0
        if not self._here:
            self._tell(phase=phase, current=index, total=len(self._sizes))  # moments only: nothing is read in tiles
        yield

    def advance(self, values: int) -> None:
        """So many more; may raise to stop the work."""
        self._read = min(self._read + values, self._here)
        self._tell(phase=self._phase, current=self._before + self._read, total=self._total)


def named(counts: ClassCounts) -> dict[str, int]:
    """Class counts as a report has them."""
    return {str(label): count for label, count in counts.items()}
