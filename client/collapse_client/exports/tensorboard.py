"""To TensorBoard: event files, written by TensorBoard's own writer. TensorFlow is not needed.

client = Client("http://127.0.0.1:8000")
export_run(client, "my-training", "runs")    # then: tensorboard --logdir runs
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from collapse_client.errors import MissingLibrary
from collapse_client.exports.naming import folder_name
from collapse_client.exports.steps import measured_steps, seconds
from collapse_client.reports.frames import CURVES
from collapse_client.reports.report import Report

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError as error:
    raise MissingLibrary("TensorBoard", extra="tensorboard") from error

if TYPE_CHECKING:
    from collapse_client.client import Client

SUFFIX = ".collapse"
"""By which an earlier export is recognised, which a new one replaces."""
MOST_FIGURES = 24
"""Of a report with many layers, the first of their Gram matrices."""


def export_run(
    client: Client,
    run: str,
    folder: str | os.PathLike[str],
    *,
    metrics: Iterable[str] | None = None,
    layers: Iterable[str] | None = None,
    histograms: bool = True,
    figures: bool = True,
) -> Path:
    """Write a run's series to an event file in `folder`/<run>, in place of an earlier export; return that folder.

    Scalars are called metric/layer, by step; under “Custom scalars” there is a chart for each metric with a line for
    each layer. With `histograms`, the singular values of the class means by step, for which each report is fetched;
    with `figures`, the last report's, as images. Analyses without a step are left out.

    Raises ServiceError, ServiceUnreachable, NothingToExport.
    """
    steps = measured_steps(client, run)
    times = {step.job_id: step.time for step in steps}
    rows = [row for row in client.series(run, metrics=metrics, layers=layers) if row["job_id"] in times]
    with EventFile(Path(folder, folder_name(run)), client.catalogue()) as file:
        file.lay_out(rows, time=steps[0].time)
        for row in rows:
            file.scalar(row["metric"], row["layer"], row["step"] or 0, row["value"], time=times[row["job_id"]])
        for step in steps if histograms else ():
            file.spectra(Report(client.report(step.job_id)), step.step, layers, time=step.time)
        if figures:
            _figures(file, client, steps[-1].job_id, steps[-1].step, time=steps[-1].time)
    return file.folder


def export_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> Path:
    """Write one report to an event file in `folder`, in place of an earlier export; return the folder.

    Of a training of the deep unconstrained features model: loss, fit, regularisation and the metrics by step, means
    over the runs. Other metrics of its layers, and their spectra, stand at the report's step; without one, at the last
    of the training, else at 0.
    """
    of = Report(report)
    time, curves = seconds(of.created_at), list(_trajectory(of))
    step = curves[-1]["step"] if of.step is None and curves else of.step or 0
    drawn = {(row["metric"], row["layer"]) for row in curves}
    measured = [
        {"metric": metric, "layer": layer.name, "step": step, "value": value}
        for layer in of.layers
        for metric, value in layer.metrics.items()
        if (metric, layer.name) not in drawn
    ]
    with EventFile(Path(folder), of.get("catalogue", {}).values()) as file:
        file.lay_out([*curves, *measured], time=time)
        for row in (*curves, *measured):
            file.scalar(row["metric"], row["layer"], row["step"], row["value"], time=time)
        file.spectra(of, step, None, time=time)
    return file.folder


class EventFile:
    """An event file while it is written; once it is whole, it replaces those of earlier exports."""

    def __init__(self, folder: Path, catalogue: Iterable[Mapping[str, Any]]) -> None:
        self.folder = folder
        self._earlier = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
        self._entries = {entry["name"]: entry for entry in catalogue}
        self._told: set[str] = set()

    def __enter__(self) -> EventFile:
        self._writer = EventFileWriter(str(self.folder), filename_suffix=SUFFIX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        written = set(self.folder.glob(f"events.out.tfevents.*{SUFFIX}")) - set(self._earlier)
        for path in self._earlier if error is None else written:
            path.unlink()

    def scalar(self, metric: str, layer: str | None, step: int, value: float | None, *, time: float) -> None:
        """Write one number; an undefined one is left out. The first of each name brings the formula."""
        if value is None:
            return
        name = tag(metric, layer)
        description = None if name in self._told else self._description(metric)
        self._told.add(name)
        self._add(scalar_pb(name, value, description), step, time)

    def spectra(self, report: Report, step: int, layers: Iterable[str] | None, *, time: float) -> None:
        """Write the singular values of the class means of the layers."""
        for layer in report.layers:
            values = layer.spectra.class_means
            if values and (layers is None or layer.name in layers):
                self._add(histogram_pb(tag("class_mean_singular_values", layer.name), values), step, time)

    def image(self, name: str, png: bytes, step: int, *, time: float) -> None:
        """Write a figure."""
        width, height = struct.unpack(">II", png[16:24])  # where the PNG's header has them
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._add(Summary(value=[Summary.Value(tag=name, image=image)]), step, time)

    def lay_out(self, rows: Iterable[Mapping[str, Any]], *, time: float) -> None:
        """Write which charts show several lines: one for each metric of several layers."""
        tags: dict[str, dict[str, None]] = {}
        for row in rows:
            if row["layer"] is not None:
                tags.setdefault(row["metric"], {})[tag(row["metric"], row["layer"])] = None
        charts = [
            layout_pb2.Chart(
                title=self._title(metric),
                multiline=layout_pb2.MultilineChartContent(tag=[f"^{re.escape(name)}$" for name in names]),
            )
            for metric, names in tags.items()
        ]
        layout = layout_pb2.Layout(category=[layout_pb2.Category(title="Metrics, layer by layer", chart=charts)])
        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME))
        content = TensorProto(
            dtype="DT_STRING", string_val=[layout.SerializeToString()], tensor_shape=TensorShapeProto()
        )
        value = Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, tensor=content, metadata=about)
        self._add(Summary(value=[value]), 0, time)

    def _add(self, summary: Summary, step: int, time: float) -> None:
        self._writer.add_event(Event(step=step, wall_time=time, summary=summary))

    def _title(self, metric: str) -> str:
        return str(self._entries[metric]["title"]) if metric in self._entries else metric

    def _description(self, metric: str) -> str | None:
        entry = self._entries.get(metric)
        if entry is None:
            return None
        ideal = "" if entry["ideal"] is None else f"; under collapse: {entry['ideal']}"
        return f"{entry['title']}: `{entry['formula']}`{ideal}"


def tag(metric: str, layer: str | None) -> str:
    """Name a curve: TensorBoard gathers what has the same first part."""
    return metric if layer is None else f"{metric}/{layer}"


def _trajectory(report: Report) -> Iterator[dict[str, Any]]:
    """Rows like those of a series, means over the runs."""
    if report.training is None:
        return
    trajectory = report.training.trajectory
    curves: list[tuple[str, str | None, Any]] = [(name, None, trajectory[name]) for name in CURVES]
    curves += [(name, layer, band) for name, bands in trajectory["metrics"].items() for layer, band in bands.items()]
    for metric, layer, band in curves:
        for place, step in enumerate(trajectory.step):
            yield {"metric": metric, "layer": layer, "step": step, "value": band["mean"][place]}


def _figures(file: EventFile, client: Client, job_id: str, step: int, *, time: float) -> None:
    """The report's figures, apart from those of one metric, which the scalars show."""
    names = [plot["name"] for plot in client.plots(job_id) if not plot["name"].startswith("metric-")]
    for name in names[:MOST_FIGURES]:
        file.image(f"figures/{name}", client.plot(job_id, name, "png"), step, time=time)
