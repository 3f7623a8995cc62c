"""To MLflow: a run's series as metrics by step, its last report as artifacts.

    client = Client("http://127.0.0.1:8000")
    export_run(client, "my-training", tracking_uri="sqlite:///mlflow.db")

The extra brings MLflow's client, which is all that a tracking server needs; a database of one's own needs SQLAlchemy
and Alembic besides, or the full package `mlflow`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from collapse_client.errors import ExportFailed, MissingLibrary
from collapse_client.exports.naming import metric_keys
from collapse_client.exports.steps import MeasuredStep, measured_steps

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException
except ImportError as error:
    raise MissingLibrary("MLflow", extra="mlflow") from error

if TYPE_CHECKING:
    from collapse_client.client import Client

MOST_AT_ONCE = 1000
"""Metrics that MLflow takes in one request."""
RUN, DIGEST = "collapse.run", "collapse.run_digest"
"""Tags of a run of ours: its name, and its digest, which can be searched for whatever is in the name."""


def export_run(
    client: Client,
    run: str,
    *,
    tracking_uri: str | None = None,
    experiment: str = "collapse",
    run_id: str | None = None,
    metrics: Iterable[str] | None = None,
    layers: Iterable[str] | None = None,
) -> str:
    """Log a run's series and its last report to MLflow; return the id of the MLflow run.

    Metrics are called metric/layer, by step; the report is there as `collapse/report.json` and `collapse/report.html`.
    With `run_id` all goes to that MLflow run, such as the one your training made. Else to one of this name in
    `experiment`, which a second export finds again: it adds what is new, and a step that was sent again counts with its
    new values. Without `tracking_uri`, MLflow's own setting counts. Undefined values and analyses without a step are
    left out.

    Raises ServiceError, ServiceUnreachable, NothingToExport; ExportFailed with MLflow's own words.
    """
    steps = measured_steps(client, run)
    rows = client.series(run, metrics=metrics, layers=layers)
    report, page = client.report(steps[-1].job_id), client.report_html(steps[-1].job_id)
    try:
        mlflow = MlflowClient(tracking_uri=tracking_uri)
        target = run_id or _run_of(mlflow, experiment, run, started=steps[0])
        logged = _metrics(rows, {step.job_id: step for step in steps})
        for start in range(0, len(logged), MOST_AT_ONCE):
            mlflow.log_batch(target, metrics=logged[start : start + MOST_AT_ONCE])
        mlflow.log_text(target, json.dumps(report, indent=2, ensure_ascii=False), "collapse/report.json")
        mlflow.log_text(target, page.decode(), "collapse/report.html")
        if run_id is None:
            mlflow.set_terminated(target, end_time=_milliseconds(steps[-1]))
    except MlflowException as error:
        raise ExportFailed(f"MLflow refused: {error}") from error
    return target


def _run_of(mlflow: MlflowClient, experiment: str, run: str, *, started: MeasuredStep) -> str:
    """Return the id of the MLflow run for this run, made if it is not there."""
    there = mlflow.get_experiment_by_name(experiment)
    experiment_id = there.experiment_id if there else mlflow.create_experiment(experiment)
    digest = hashlib.sha256(run.encode()).hexdigest()
    found = mlflow.search_runs([experiment_id], filter_string=f"tags.`{DIGEST}` = '{digest}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {RUN: run, DIGEST: digest}
    made = mlflow.create_run(experiment_id, run_name=run, tags=tags, start_time=_milliseconds(started))
    return str(made.info.run_id)


def _metrics(rows: Iterable[Mapping[str, Any]], steps: Mapping[str, MeasuredStep]) -> Sequence[Metric]:
    there = [row for row in rows if row["value"] is not None and row["job_id"] in steps]
    keys = metric_keys((row["metric"], row["layer"]) for row in there)
    # A later analysis of the same step has a later time, by which MLflow tells which value is the newer.
    return [
        Metric(keys[row["metric"], row["layer"]], row["value"], _milliseconds(steps[row["job_id"]]), row["step"])
        for row in there
    ]


def _milliseconds(step: MeasuredStep) -> int:
    return round(1000 * step.time)
