"""Measure how far the features of a feature set have collapsed."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from analysis.commands.base import ChildrenFirst, Command, FeaturesOutline, Needs, Number, Surroundings
from analysis.metrics import REGISTRY
from analysis.report import Report


def _no_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"each name may be given once; repeated: {', '.join(map(repr, repeated))}")
    return names


def _known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in REGISTRY:
            close = difflib.get_close_matches(name, REGISTRY, n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise ValueError(f"there is no metric {name[:64]!r}: {hint}GET /v1/catalogue lists all metrics")
    return names


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(
            f"must lie between 0 and 1, both excluded, as a share of the largest singular value; got {value}"
        )
    return value


LayerName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
LayerNames = Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=1024), AfterValidator(_no_repeats)]
MetricNames = Annotated[
    tuple[str, ...], Field(min_length=1, max_length=256), AfterValidator(_no_repeats), AfterValidator(_known_metrics)
]
TILES_BYTES = 128 << 20
"""Of tiles of samples, and what is computed of them."""
SMALL_DIM = 2048
"""Up to which second moments may be formed without being asked for."""

Spectrum = Literal["class_means", "features", "weights"]


def _memory(num_samples: int, num_classes: int, dim: int, *, matrices: bool) -> int:
    """Bytes that one layer takes: class means and what is made of them, Gram matrices of classes, second moments."""
    smaller = min(num_samples, dim)
    # As measured: of K × K up to 11 at a time, of second moments 7 to 9 (sums, the matrix, what LAPACK works in).
    second_moments = 9 * smaller**2 if matrices or smaller <= SMALL_DIM else 0
    return 8 * (10 * num_classes * dim + 12 * num_classes**2 + second_moments)


class MeasureCollapse(Command):
    """Measure how far each layer's features have collapsed, and their ranks."""

    kind: Literal["measure_collapse"]
    features: str = Field(min_length=1, max_length=64, description="id of a feature set")
    layers: LayerNames | None = Field(default=None, description="which layers, in this order; all if left out")
    metrics: MetricNames | None = Field(
        default=None,
        description="which metrics; all of the catalogue if left out, but those that need all second moments only "
        "where these are cheap, or `features` is among the spectra",
    )
    rank_tolerance: Annotated[Number, AfterValidator(_share)] = Field(
        default=1e-3,
        json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1},
        description="a singular value counts towards a rank above this share of the largest one",
    )
    class_weighting: Literal["balanced", "sample"] = Field(
        default="balanced",
        description="balanced: every class counts alike in the mean of the class means and in Σ_B; sample: by its "
        "number of samples",
    )
    spectra: Annotated[tuple[Spectrum, ...], Field(max_length=3), AfterValidator(_no_repeats)] = Field(
        default=("class_means",),
        description="singular values to report; those of the class means always are",
    )

    def needs(self, features: FeaturesOutline | None) -> Needs:
        """Of the layer that takes most, one after the other; of the second moments if they may be formed."""
        if features is None:
            return Needs()
        num_classes = len({label for part in features.parts for label in part.class_counts})
        num_samples = sum(part.num_samples for part in features.parts)
        dims = [layer.dim for layer in features.parts[0].layers if self.layers is None or layer.name in self.layers]
        matrices = "features" in self.spectra or any(
            REGISTRY[name].entry.needs == "scatter_matrix" for name in self.metrics or ()
        )
        return Needs(
            memory_bytes=TILES_BYTES + max(_memory(num_samples, num_classes, dim, matrices=matrices) for dim in dims),
            multiply_adds=sum(num_samples * dim * (2.0 * num_classes + (dim if matrices else 0)) for dim in dims),
        )

    def run(self, surroundings: Surroundings) -> Report | ChildrenFirst:
        """Read the features tile by tile and measure; of a large set in parts, have others read them."""
        from analysis.spread import measure

        return measure(self, surroundings)
