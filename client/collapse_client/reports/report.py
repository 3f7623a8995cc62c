"""The report of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from collapse_client.reports.dufm import Optimum, Reproduction, Sweep, Training
from collapse_client.reports.layers import LayerReport, Warning
from collapse_client.reports.summary import Summary
from collapse_client.reports.view import View

if TYPE_CHECKING:
    import pandas


class Environment(View):
    """What the numbers were computed with."""

    service_version: str
    torch_version: str
    device: str
    dtype: str
    seed: Optional[int]


class Conventions(View):
    """Where published implementations of a metric differ; null where it does not apply."""

    centre: Optional[str]
    weighting: Optional[str]
    divisor: Optional[str]


class MetricEntry(View):
    """One metric, as the catalogue tells it."""

    name: str
    title: str
    formula: str
    ideal: Any
    scale: str
    direction: Optional[str]
    scope: str
    needs: str
    threshold: Optional[float]
    decides: bool
    reference: str
    conventions: Conventions


class Report(View):
    """The result of a job: a dict, as in the service's JSON, whose fields are attributes too.

    >>> report = Report(layers=[{"name": "head.2", "index": 0, "metrics": {"class_mean_rank": 9.0}}])
    >>> report["layers"][0]["name"], report.layers[0].name, report.layer("head.2").metrics["class_mean_rank"]
    ('head.2', 'head.2', 9.0)
    """

    schema_version: str
    job_id: str
    kind: str
    run: Optional[str]
    step: Optional[int]
    created_at: str
    environment: Environment
    num_samples: int
    num_classes: int
    class_counts: Dict[str, int]
    catalogue: Dict[str, MetricEntry]
    layers: List[LayerReport]
    summary: Optional[Summary]
    training: Optional[Training]
    optimum: Optional[Optimum]
    sweep: Optional[Sweep]
    reproduction: Optional[Reproduction]
    artifacts: List[str]
    warnings: List[Warning]
    timings: Dict[str, float]

    def layer(self, name: str) -> LayerReport:
        """Return the layer of this name. Raises KeyError, which names those there are."""
        layers = {layer["name"]: layer for layer in self["layers"]}
        if name not in layers:
            raise KeyError(f"no layer {name!r}; this report has {', '.join(layers)}")
        return LayerReport(layers[name])

    def to_pandas(self, split: str | None = None) -> pandas.DataFrame:
        """One row per layer and metric, with the columns of a series; with `split`, of the samples of that split.

        Columns: run, step, layer, layer_index, metric, value (NaN where undefined), job_id.
        Raises MissingLibrary without pandas, KeyError for a split that no layer has.
        """
        from collapse_client.reports.frames import report_frame

        return report_frame(self, split)

    def layers_frame(self, split: str | None = None) -> pandas.DataFrame:
        """One row per layer, by its name: layer_index, dim, then the metrics as columns; `split` as in `to_pandas`."""
        from collapse_client.reports.frames import layers_frame

        return layers_frame(self, split)
