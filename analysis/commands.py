"""The kinds of jobs: validated parameters, frozen, and `run`, which imports the mathematics when it is called.

A new kind is one class here and its name in `AnyCommand`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from analysis.metrics import REGISTRY
from analysis.report import Report

if TYPE_CHECKING:
    from collapse_client.format import FeatureFile, MomentsFile


class Features(Protocol):
    """A feature set, opened: its layers in order, and the files that hold its samples."""

    @property
    def layers(self) -> Sequence[str]:
        """Names, in the order of the network."""
        ...

    @property
    def parts(self) -> Sequence[FeatureFile | MomentsFile]:
        """Open files, in the order of the set."""
        ...


class Surroundings(Protocol):
    """What a command needs from where it runs."""

    job_id: str
    run: str | None
    step: int | None
    device: str
    service_version: str

    def open_features(self, features_id: str) -> AbstractContextManager[Features]:
        """Open a stored feature set."""
        ...

    def previous_report(self) -> Mapping[str, Any] | None:
        """The report, as JSON, of the greatest step before this one, of the same run and kind, if there is one."""
        ...

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Hear how far the work is; called between tiles, and may raise to stop it."""
        ...


class Command(BaseModel):
    """What a job shall do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    def run(self, surroundings: Surroundings) -> Report:
        """Do it."""
        raise TypeError(f"{type(self).__name__} has no run(): give the class one")


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
Spectrum = Literal["class_means", "features", "weights"]


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
    rank_tolerance: Annotated[float, AfterValidator(_share)] = Field(
        default=1e-3,
        strict=True,
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

    def run(self, surroundings: Surroundings) -> Report:
        """Read the features tile by tile and measure."""
        from analysis.collapse import measure

        return measure(self, surroundings)


AnyCommand = MeasureCollapse
"""Every kind. From the second kind on: `Annotated[MeasureCollapse | …, Field(discriminator="kind")]`."""

KINDS: dict[str, type[Command]] = {
    get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in Command.__subclasses__()
}
"""The class of each kind, by name."""
