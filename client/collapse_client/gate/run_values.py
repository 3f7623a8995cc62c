"""The values of one run, as a gate asks for them: by step, metric and layer, or the reason why there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Optional

from collapse_client.errors import JobFailed, ServiceError, Unanswerable
from collapse_client.gate.aliases import ALIASES
from collapse_client.gate.grammar import QUANTIFIERS, Layer, Measurement, written

if TYPE_CHECKING:
    from collapse_client.client import Client

UNDER_WAY = ("queued", "running")
DOES_NOT_APPLY = {"not_the_classifier", "no_weights", "no_following_weights", "no_biases", "no_ood_samples"}
"""Codes of warnings by which a metric is none of this layer, rather than undefined for it."""


@dataclass(frozen=True)
class Value:
    """One measured number."""

    step: Optional[int]
    layer: str
    metric: str
    value: float
    job_id: str


@dataclass(frozen=True)
class Place:
    """A step of the run and its analyses: one, or one of each kind. Without a step, an analysis by itself."""

    step: Optional[int]
    analyses: tuple[Any, ...]

    @property
    def status(self) -> str:
        """succeeded, if any of them has."""
        statuses = [analysis["status"] for analysis in self.analyses]
        return "succeeded" if "succeeded" in statuses else statuses[0]

    def __str__(self) -> str:
        return f"job {self.analyses[0]['job_id']}" if self.step is None else f"step {self.step}"


class RunValues:
    """A run's layers, metrics and places, and the series of what was asked for."""

    def __init__(self, client: Client, run: str) -> None:
        self._client, self.run = client, run
        try:
            view = client.run(run)
        except ServiceError as error:
            if error.code != "run_not_found":
                raise
            raise Unanswerable(f"There is no run {run!r}. {_known_runs(client, run)}") from error
        self.layers: Sequence[str] = view["layers"]
        self.metrics: Sequence[str] = view["metrics"]
        self.places = _places(view["steps"])
        self._rows: dict[tuple[str, str, str], Any] = {}
        self._reports: dict[str, Any] = {}

    def load(self, measurements: Sequence[Measurement]) -> None:
        """Fetch the series of these metrics, of their layers alone where none asks for all; names are checked."""
        if not self.metrics:
            raise Unanswerable(f"The run {self.run!r} has no measurements yet. {self._standing()}")
        for measurement in measurements:
            self._require_metric(measurement.metric)
        layers = {name for measurement in measurements for name in self.layers_of(measurement.layer)}
        asks_for_all = any(measurement.layer.word in QUANTIFIERS for measurement in measurements)
        metrics = sorted({measurement.metric for measurement in measurements})
        for row in self._client.series(self.run, metrics=metrics, layers=None if asks_for_all else sorted(layers)):
            self._rows[row["job_id"], row["metric"], row["layer"]] = row

    def layers_of(self, layer: Layer) -> list[str]:
        """Return the names of the layers that are meant: one, or all for `all` and `any`."""
        if layer.word in QUANTIFIERS:
            return list(self.layers)
        if layer.word is not None:
            return [self.layers[-1 if layer.word == "last" else 0]]
        if layer.name is not None and layer.name in self.layers:
            return [layer.name]
        numbers_are_names = layer.name is not None and any(name.isdecimal() for name in self.layers)
        if layer.index is None or numbers_are_names:
            raise Unanswerable(
                f"The run {self.run!r} has no layer {layer.name!r}. {_listed('It has', map(written, self.layers))}"
            )
        if not -len(self.layers) <= layer.index < len(self.layers):
            raise Unanswerable(
                f"The run {self.run!r} has {len(self.layers)} layers, the index {layer.index} is none of theirs. "
                f"{_listed('They are', map(written, self.layers))}"
            )
        return [self.layers[layer.index]]

    def _require_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            close = difflib.get_close_matches(metric, [*self.metrics, *ALIASES], n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            known = [name for name, of in ALIASES.items() if of in self.metrics]
            raise Unanswerable(
                f"The run {self.run!r} has no metric {metric!r}. {hint}{_listed('It has', self.metrics, most=99)} "
                f"{_listed('Short names', known)}"
            )

    def to_judge(self, *, step: int | None = None, since: int | None = None) -> list[Place]:
        """Return where to judge: at this step; or at all that have ended, from one on; or (neither) at the latest.

        Raises Unanswerable where there is none.
        """
        if step is not None:
            found = [place for place in self.places if place.step == step]
        else:
            found = [place for place in self.places if place.status not in UNDER_WAY]
            found = found[-1:] if since is None else [place for place in found if (place.step or 0) >= since]
        if not found:
            what = "no step that has ended and could be judged" if step is None else f"no step {step}"
            raise Unanswerable(f"The run {self.run!r} has {what}. {self._standing()}")
        return found

    def place_of(self, measurement: Measurement, place: Place) -> Place:
        """Return where a measurement of a condition that is judged at `place` is taken from."""
        if measurement.step is None:
            return place
        if measurement.step == "first_step":
            return self.places[0]
        if place == self.places[0]:
            raise Unanswerable(f"{str(place).capitalize()} is the first of the run {self.run!r}: none is before it.")
        return self.places[self.places.index(place) - 1]

    def applies(self, place: Place, metric: str, layer: str) -> bool:
        """Say whether the metric is one of this layer: some are of layers with weights alone, or of the last."""
        row = self._row(place, metric, layer)
        if row is None or row["value"] is not None:
            return row is not None
        return not {warning["code"] for warning in self._warnings(row)} & DOES_NOT_APPLY

    def value(self, place: Place, metric: str, layer: str) -> Value:
        """Return a number; raises Unanswerable with the reason where there is none."""
        row = self._row(place, metric, layer)
        if row is None:
            raise Unanswerable(self._absence(place, metric, layer))
        if row["value"] is None:
            raise Unanswerable(
                f"{metric} of layer {written(layer)} has no value at {place} ({row['job_id']}): {self._reason(row)}"
            )
        return Value(place.step, layer, metric, row["value"], row["job_id"])

    def _row(self, place: Place, metric: str, layer: str) -> Any:
        rows = (self._rows.get((analysis["job_id"], metric, layer)) for analysis in place.analyses)
        return next((row for row in rows if row is not None), None)

    def _absence(self, place: Place, metric: str, layer: str) -> str:
        job_id = place.analyses[0]["job_id"]
        if place.status in UNDER_WAY:
            return f"The analysis of {place} is still {place.status} ({job_id}): use --wait."
        if place.status != "succeeded":
            error = JobFailed(self._client.job(job_id))
            return f"The analysis of {place} ({job_id}) has {place.status}: {error.detail}"
        jobs = {analysis["job_id"] for analysis in place.analyses}
        others = [of for job, name, of in self._rows if job in jobs and name == metric]
        having = f" {_listed('Of the layers asked about, these have it', map(written, others))}" if others else ""
        return f"{str(place).capitalize()} ({job_id}) did not measure {metric} of layer {written(layer)}.{having}"

    def _reason(self, row: Any) -> str:
        said = [warning["detail"] for warning in self._warnings(row)]
        return "; ".join(said) or "the report does not say why"

    def _warnings(self, row: Any) -> list[Any]:
        """What the report says about a null."""
        report = self._reports.get(row["job_id"]) or self._client.report(row["job_id"])
        self._reports[row["job_id"]] = report
        layers = [layer for layer in report["layers"] if layer["name"] == row["layer"]]
        warnings = [warning for part in (*layers, report) for warning in part["warnings"]]
        return [warning for warning in warnings if row["metric"] in warning["metrics"]]

    def _standing(self) -> str:
        if self.places[0].step is None:
            return _listed("Its analyses have no steps", [f"{place} {place.status}" for place in self.places])
        return _listed("Its steps", [f"{place.step} {place.status}" for place in self.places])


def _places(steps: Sequence[Any]) -> list[Place]:
    """The numbered steps in order; of a run without any, its analyses, the oldest first."""
    by_step: dict[Any, list[Any]] = {}
    for analysis in steps:
        if analysis["step"] is not None:
            by_step.setdefault(analysis["step"], []).append(analysis)
    if by_step:
        return [Place(step, tuple(by_step[step])) for step in sorted(by_step)]
    return [Place(None, (analysis,)) for analysis in sorted(steps, key=lambda analysis: analysis["created_at"])]


def _known_runs(client: Client, run: str) -> str:
    known = [view["run"] for view in islice(client.runs(), 100)]
    if not known:
        return "There are none: analyses become a run by the name that they are submitted with."
    close = difflib.get_close_matches(run, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else _listed("There are, last changed first", known)


def _listed(what: str, names: Iterable[str], most: int = 20) -> str:
    items = list(names)
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return f"{what}: {', '.join([*items[:most], *more])}."
