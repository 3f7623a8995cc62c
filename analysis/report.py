"""What an analysis returns, and the entries of the metric catalogue. `Report.model_json_schema()` is published."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.dufm.report import Optimum, Reproduction, Sweep, Training
from analysis.structure_report import Structure

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
"""NaN and infinities have no place in JSON: what is undefined is null, with a warning."""


class Model(BaseModel):
    """Built once, never changed, nothing that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Scope = Literal["layer", "weights", "classifier"]
Needs = Literal["means", "scatter", "projected_scatter", "scatter_matrix", "samples"]


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
    scope: Scope = Field(
        description="layer: every layer; weights: every layer that comes with weights; classifier: the last layer, "
        "with its weights"
    )
    needs: Needs = Field(
        description="what of a moments file it takes: means; scatter (its trace, by class); projected_scatter (along "
        "the class means; scatter_matrix serves too); scatter_matrix (d × d); samples: only features have it"
    )
    threshold: FiniteFloat | None = Field(
        description="value up to which (direction lower) or from which (higher) the summary says that the layer has "
        "collapsed by this metric; null: no rule"
    )
    decides: bool = Field(description="the summary calls a layer collapsed if every metric that decides says so")
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


class ClassReport(Model):
    """One class of a layer: to find the one that does not collapse."""

    label: int
    count: int
    variance: FiniteFloat | None = Field(description="v_c = (1/n_c) Σ ‖h − μ_c‖²; null for a single sample")
    norm: FiniteFloat | None = Field(description="‖μ_c − μ_G‖")
    nearest_center_accuracy: FiniteFloat | None = Field(
        description="share of its samples nearest to its own mean; null unless that metric was measured"
    )
    nearest_class: int | None = Field(description="label of the class whose mean is nearest")
    nearest_class_distance: FiniteFloat | None


class Measurements(Model):
    """What was measured of one layer on one set of samples; null where it is undefined, with a warning."""

    metrics: dict[str, FiniteFloat | None]
    details: Mapping[str, Mapping[str, FiniteFloat | int | str]] = Field(
        description="what belongs to a metric's value: ranks used, cuts, tolerances"
    )
    ranks_used: dict[str, int] = Field(description="metric → rank that it was computed with; details say by which rule")
    spectra: Spectra
    class_mean_gram: tuple[tuple[FiniteFloat, ...], ...] | None = Field(
        description="K × K inner products of the class means, not centred, classes in ascending order of label"
    )
    structure: Structure | None = Field(description="which ideal the class means look like")
    per_class: tuple[ClassReport, ...] | None = Field(description="classes in ascending order of label")
    warnings: tuple[Warning, ...]


class SplitReport(Measurements):
    """The same layer on the samples of another split."""

    num_samples: int
    num_classes: int
    class_counts: dict[str, int]


class LayerReport(Measurements):
    """One layer: every metric that was asked for, by name."""

    name: str
    index: int = Field(ge=0, description="position in this report")
    dim: int = Field(gt=0)
    splits: dict[str, SplitReport] = Field(
        description="the other splits, where the features have a tensor `split`; the first, the one of the smallest "
        "number, is measured in the layer itself"
    )


class Reached(Model):
    """A metric against its threshold."""

    value: FiniteFloat
    threshold: FiniteFloat
    reached: bool


class LayerSummary(Model):
    """One layer in short."""

    name: str
    index: int
    collapsed: bool | None = Field(description="null where no metric that decides was measured")
    by: tuple[str, ...] = Field(description="metrics by which it has collapsed")
    not_by: tuple[str, ...] = Field(description="metrics by which it has not")
    deciding: dict[str, Reached] = Field(description="the metrics that decide")
    structure: str | None = Field(description="what the class means look like; none: like no ideal")
    rank: int | None = Field(description="of the class means")
    centered_rank: int | None = Field(
        description="of the centred class means: the one to look at where an offset common to all features dominates"
    )
    dnc_rank: int = Field(description="K − 1 for a simplex, else K: what deep neural collapse has")
    srg_rank: FiniteFloat = Field(description="r with K = r(r−1)/2, about √(2K): what the low-rank SRG solution has")
    rank_is: Literal["full", "reduced", "low"] | None = Field(
        description="full: at least K − 1; low: at most the SRG rank; reduced: between"
    )


class RankDrop(Model):
    """Two neighbouring layers, the later of smaller class-mean rank."""

    before: str
    after: str
    rank_before: int
    rank_after: int


class Change(Model):
    """A number then and now."""

    before: FiniteFloat | None
    now: FiniteFloat | None


class LayerChange(Model):
    """What changed in a layer since the step before."""

    name: str
    collapsed_before: bool | None
    collapsed_now: bool | None
    structure_before: str | None
    structure_now: str | None
    rank: Change
    metrics: dict[str, Change] = Field(description="the metrics that have a threshold")


class SinceStep(Model):
    """What changed since the step before of the same run, the last one that was finished when this was measured."""

    job_id: str
    step: int
    layers: tuple[LayerChange, ...]


class Summary(Model):
    """The report in short, by the rules that stand with it."""

    collapsed_layers: tuple[str, ...]
    layers: tuple[LayerSummary, ...]
    rank_drops: tuple[RankDrop, ...]
    since_previous_step: SinceStep | None = Field(description="null without a run, a step, or a step before it")
    rules: dict[str, str] = Field(description="how each statement follows from the numbers")


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
    summary: Summary | None = None
    training: Training | None = None
    optimum: Optimum | None = None
    sweep: Sweep | None = None
    reproduction: Reproduction | None = None
    artifacts: tuple[str, ...] = Field(default=(), description="names of the files at …/artifacts/{name}")
    warnings: tuple[Warning, ...]
    timings: dict[str, FiniteFloat] = Field(description="durations, named …_seconds")
