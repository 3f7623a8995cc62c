"""What an analysis returns, and the entries of the metric catalogue. `Report.model_json_schema()` is published."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
"""NaN and infinities have no place in JSON: what is undefined is null, with a warning."""


class Model(BaseModel):
    """Built once, never changed, nothing that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conventions(Model):
    """Where published implementations differ, so each metric states it; null where it does not apply."""

    centre: str | None = Field(default=None, description="what the class means are taken relative to")
    weighting: str | None = Field(default=None, description="how classes of different sizes count")
    divisor: str | None = Field(default=None, description="what sums are divided by")


class MetricEntry(Model):
    """One metric, as the catalogue tells it."""

    name: str
    title: str
    formula: str
    ideal: FiniteFloat | str | None = Field(
        description="value under collapse: a number, words where it depends on K, null where there is none"
    )
    scale: Literal["linear", "log"] = Field(description="axis on which the metric is best drawn")
    direction: Literal["lower", "higher"] | None = Field(description="which way collapse lies")
    scope: Literal["layer", "classifier"] = Field(
        description="layer: every layer; classifier: the last layer, with its weights"
    )
    reference: str
    conventions: Conventions


class Warning(Model):
    """One reason, and all metrics that it touches."""

    code: str
    metrics: tuple[str, ...] = ()
    detail: str


class Spectra(Model):
    """Singular values, largest first; null where they were not asked for or cannot be had."""

    class_means: tuple[FiniteFloat, ...] | None = Field(description="of the K × d class means, not centred")
    features: tuple[FiniteFloat, ...] | None = Field(default=None, description="of the N × d features, not centred")
    weights: tuple[FiniteFloat, ...] | None = Field(default=None, description="of the matrix applied to the features")


class LayerReport(Model):
    """One layer: every metric that was asked for, by name; null where it is undefined, with a warning."""

    name: str
    index: int = Field(ge=0, description="position in this report")
    dim: int = Field(gt=0)
    metrics: dict[str, FiniteFloat | None]
    details: Mapping[str, Mapping[str, FiniteFloat | int | str]] = Field(
        description="what belongs to a metric's value: ranks used, cuts, tolerances"
    )
    spectra: Spectra
    class_mean_gram: tuple[tuple[FiniteFloat, ...], ...] | None = Field(
        description="K × K inner products of the class means, not centred, classes in ascending order of label"
    )
    warnings: tuple[Warning, ...]


class Environment(Model):
    """What the numbers were computed with."""

    service_version: str
    torch_version: str
    device: str
    dtype: str
    seed: int | None = None


class Report(Model):
    """The result of a job."""

    schema_version: Literal["1.0"] = "1.0"
    job_id: str
    kind: str
    run: str | None
    step: int | None
    created_at: datetime
    environment: Environment
    num_samples: int
    num_classes: int
    class_counts: dict[str, int] = Field(description="label → number of samples, in ascending order of label")
    catalogue: dict[str, MetricEntry] = Field(description="the entries of the metrics in this report")
    layers: tuple[LayerReport, ...]
    warnings: tuple[Warning, ...]
    timings: dict[str, FiniteFloat] = Field(description="durations, named …_seconds")
