"""The service's HTTP contract as methods."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Union, cast
from urllib.parse import quote

from collapse_client.errors import JobFailed, WaitTimeout
from collapse_client.format.writer import write_tensors
from collapse_client.progress import Show, progress_bar
from collapse_client.reports.frames import series_frame
from collapse_client.reports.report import Report
from collapse_client.transport import Transport, content_digest
from collapse_client.views import (
    ArtifactView,
    FeaturesView,
    JobView,
    PlotView,
    RunDetailView,
    RunView,
    SeriesRow,
)

if TYPE_CHECKING:
    import pandas

ENDED = ("succeeded", "failed", "cancelled")
LONGEST_HOLD_SECONDS = 60
"""How long the service holds an answer back at most."""
PROGRESS_SECONDS = 1
SHORTEST_POLL_SECONDS = 0.2

Source = Union[str, "os.PathLike[str]", Mapping[str, Any]]
"""A file, or tensors named as in one: `labels`, `features.<layer>`, and `split`, `weights.<layer>`, `biases.<layer>`,
`ood.<layer>` where there are any; or moments, as `write_moments` writes them."""


class Client:
    """A connection to the service; use it as a context manager.

    `timeout`: seconds for one step of a request (connect, send a block, wait for the answer). `retry_seconds`: for how
    long a request that the service puts off (429, 503) is repeated. Every method raises CollapseError.

        with Client() as client:
            job = client.analyse("features.safetensors", run="resnet", step=10)
            report = client.report(client.wait(job))
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        timeout: float = 60.0,
        retry_seconds: float = 60.0,
    ) -> None:
        self._transport = Transport(url, api_key=api_key, timeout=timeout, retry_seconds=retry_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def upload(
        self, source: Source, layers: Iterable[str] | None = None, *, expires_in_seconds: int | None = None
    ) -> FeaturesView:
        """Send one feature set; the same bytes again give the same id. `layers` sets the order of the layers.

        `expires_in_seconds`: when it is deleted, unless a job needs it still; else, as the service is set.
        """
        params = {"layers": _list(layers), "expires_in_seconds": expires_in_seconds}
        with _file(source) as file:
            return cast(FeaturesView, self._call("POST", "features", params=params, file=file))

    def open_parts(self, layers: Iterable[str] | None = None, *, expires_in_seconds: int | None = None) -> FeaturesView:
        """Open an empty feature set, to be filled by `put_part` and closed by `complete` before it expires."""
        params = {"parts": "open", "layers": _list(layers), "expires_in_seconds": expires_in_seconds}
        return cast(FeaturesView, self._call("POST", "features", params=params, repeatable=False))

    def put_part(self, features_id: str, index: int, source: Source) -> None:
        """Send part `index` (from 0) of an open set: the same tensors, other samples.

        With its digest, and again for as long as `retry_seconds` if it is broken on its way, or nobody answers.
        """
        with _file(source) as file:
            headers = {"Content-Digest": content_digest(file)}
            self._call("PUT", "features", features_id, "parts", str(index), file=file, headers=headers, patient=True)

    def complete(self, features_id: str, *, expires_in_seconds: int | None = None) -> FeaturesView:
        """Close an open set; `expires_in_seconds` as for `upload`."""
        params = {"expires_in_seconds": expires_in_seconds}
        return cast(FeaturesView, self._call("POST", "features", features_id, "complete", params=params))

    def features(self, features_id: str) -> FeaturesView:
        """Return what a feature set holds."""
        return cast(FeaturesView, self._call("GET", "features", features_id))

    def delete_features(self, features_id: str) -> None:
        """Remove a feature set that no job needs."""
        self._call("DELETE", "features", features_id)

    def submit(
        self,
        kind: str,
        *,
        run: str | None = None,
        step: int | None = None,
        tags: Iterable[str] = (),
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> JobView:
        """Submit a job of this kind; `parameters` are the kind's own, such as `features` of `measure_collapse`.

        Carries an Idempotency-Key, yours or a new one, so that a repeated request makes no second job.
        """
        placed = {"run": run, "step": step, "tags": list(tags) or None}
        body = {"kind": kind, **parameters, **{name: value for name, value in placed.items() if value is not None}}
        return cast(JobView, self._call("POST", "jobs", json=body, headers=_idempotent(idempotency_key)))

    def analyse(
        self,
        source: Source,
        *,
        run: str | None = None,
        step: int | None = None,
        tags: Iterable[str] = (),
        layers: Iterable[str] | None = None,
        metrics: Iterable[str] | None = None,
        expires_in_seconds: int | None = None,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
    ) -> JobView:
        """Send features and submit their `measure_collapse` job in one request; the job may expire.

        With `wait_seconds` (≤ 60) the answer is the ended job, its report under `report`, if that comes in time.
        """
        headers, hold = _idempotent(idempotency_key), min(math.ceil(wait_seconds or 0), LONGEST_HOLD_SECONDS)
        if hold:
            headers["Prefer"] = f"wait={hold}"
        lists = {"tags": _list(tags) or None, "layers": _list(layers), "metrics": _list(metrics)}
        with _file(source) as file:
            params = {"run": run, "step": step, "expires_in_seconds": expires_in_seconds, **lists}
            answer = self._call("POST", "analyses", params=params, file=file, headers=headers, hold_seconds=hold)
        return cast(JobView, answer)

    def job(self, job_id: str) -> JobView:
        """Return a job as it stands."""
        return cast(JobView, self._call("GET", "jobs", job_id))

    def jobs(self, **filters: Any) -> Iterator[JobView]:
        """Yield all jobs, newest first; `filters`: status, kind, run, tag, parent, and limit, the size of a page."""
        return cast("Iterator[JobView]", self._pages("jobs", filters))

    def wait(
        self,
        job: str | JobView,
        timeout_seconds: float | None = None,
        on_progress: Callable[[JobView], object] | None = None,
        progress: bool = False,
    ) -> JobView:
        """Return the job once it has succeeded; `on_progress` is called about once a second with its view.

        `progress` shows a bar, if standard error is a terminal. Survives a restart of the service. Raises JobFailed
        with the service's own words, WaitTimeout.
        """
        with progress_bar() if progress else contextlib.nullcontext() as show:
            return self._wait(job, timeout_seconds, [hear for hear in (on_progress, show) if hear])

    def _wait(self, job: str | JobView, timeout_seconds: float | None, listeners: Sequence[Show]) -> JobView:
        job_id = _id(job)
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        longest = PROGRESS_SECONDS if listeners else LONGEST_HOLD_SECONDS
        while True:
            asked = time.monotonic()
            hold = math.ceil(max(0.0, min(longest, deadline - asked)))
            view: JobView = self._call("GET", "jobs", job_id, params={"wait": hold}, hold_seconds=hold, patient=True)
            for hear in listeners:
                hear(view)
            if view["status"] == "succeeded":
                return view
            if view["status"] in ENDED:
                raise JobFailed(view)
            if time.monotonic() >= deadline:
                raise WaitTimeout(view)
            # A service that cannot hold the answer back is not asked in a tight loop.
            time.sleep(max(0.0, asked + SHORTEST_POLL_SECONDS - time.monotonic()))

    def events(self, job: str | JobView) -> Iterator[JobView]:
        """Yield the job whenever it changes, until it has ended or the connection breaks; `wait` goes on from there."""
        return cast("Iterator[JobView]", self._transport.events(_path("jobs", _id(job), "events")))

    def report(self, job: str | JobView) -> Report:
        """Return the report of a job that has succeeded: its JSON, whose fields are attributes too."""
        return Report(self._call("GET", "jobs", _id(job), "report"))

    def artifacts(self, job: str | JobView) -> list[ArtifactView]:
        """Return what an ended job left beside its report."""
        return cast("list[ArtifactView]", self._call("GET", "jobs", _id(job), "artifacts"))

    def artifact(self, job: str | JobView, name: str) -> bytes:
        """Return one of these files, such as `solution.safetensors`."""
        return cast(bytes, self._call("GET", "jobs", _id(job), "artifacts", name, binary=True))

    def plots(self, job: str | JobView) -> list[PlotView]:
        """Return the names and titles of a report's figures."""
        return cast("list[PlotView]", self._call("GET", "jobs", _id(job), "plots"))

    def plot(self, job: str | JobView, name: str, format: str = "svg", theme: str | None = None) -> bytes:
        """Return a figure: `svg`, `png`, or `vl.json`, its Vega-Lite specification; `theme`: light or dark."""
        params = {"theme": theme}
        return cast(bytes, self._call("GET", "jobs", _id(job), "plots", f"{name}.{format}", params=params, binary=True))

    def verdict(self, job: str | JobView) -> list[str]:
        """Return what a report says, in sentences, the most important first."""
        return cast("list[str]", self._call("GET", "jobs", _id(job), "verdict")["sentences"])

    def report_html(self, job: str | JobView) -> bytes:
        """Return the report as one HTML file, to be read without the service."""
        return cast(bytes, self._call("GET", "jobs", _id(job), "report.html", binary=True))

    def runs(self, **filters: Any) -> Iterator[RunView]:
        """Yield all runs, last changed first; `filters`: query, a part of the name, and limit, the size of a page."""
        return cast("Iterator[RunView]", self._pages("runs", filters))

    def run(self, name: str) -> RunDetailView:
        """Return a run: its steps, and which layers and metrics its reports have."""
        return cast(RunDetailView, self._call("GET", "runs", name))

    def series(
        self,
        run: str,
        *,
        metrics: Iterable[str] | None = None,
        layers: Iterable[str] | None = None,
        compare: str | None = None,
        history: bool = False,
    ) -> list[SeriesRow]:
        """Return what the steps of a run measured, one row for each step, layer and metric; all, where none are named.

        The rows of the run `compare` follow. A step that was sent again counts once, unless `history` is asked for.
        """
        params = _wanted(metrics, layers, compare, history)
        return cast("list[SeriesRow]", self._call("GET", "runs", run, "series", params=params))

    def series_file(
        self,
        run: str,
        *,
        metrics: Iterable[str] | None = None,
        layers: Iterable[str] | None = None,
        compare: str | None = None,
        history: bool = False,
        format: str = "csv",
    ) -> bytes:
        """Return the same as a file: `csv`, `parquet` or `json`."""
        params = {**_wanted(metrics, layers, compare, history), "format": format}
        return cast(bytes, self._call("GET", "runs", run, "series", params=params, binary=True))

    def series_frame(
        self,
        run: str,
        *,
        metrics: Iterable[str] | None = None,
        layers: Iterable[str] | None = None,
        compare: str | None = None,
        history: bool = False,
    ) -> pandas.DataFrame:
        """Return the same as a data frame; see `reports.frames.series_frame`. Raises MissingLibrary without pandas."""
        return series_frame(self.series(run, metrics=metrics, layers=layers, compare=compare, history=history))

    def run_plots(self, run: str) -> list[PlotView]:
        """Return the names and titles of a run's figures: each is a metric over the steps."""
        return cast("list[PlotView]", self._call("GET", "runs", run, "plots"))

    def run_plot(
        self,
        run: str,
        metric: str,
        format: str = "svg",
        *,
        layers: Iterable[str] | None = None,
        compare: str | None = None,
        theme: str | None = None,
    ) -> bytes:
        """Return the figure of a metric over the steps, a line for each layer; those of the run `compare` dashed."""
        params = {"layer": _names(layers), "compare": compare, "theme": theme}
        return cast(bytes, self._call("GET", "runs", run, "plots", f"{metric}.{format}", params=params, binary=True))

    def cancel(self, job: str | JobView) -> JobView:
        """Ask a job, and its children, to stop; a running one does within a few seconds."""
        return cast(JobView, self._call("POST", "jobs", _id(job), "cancel"))

    def delete_job(self, job: str | JobView) -> None:
        """Remove an ended job with its report, its artifacts and its children."""
        self._call("DELETE", "jobs", _id(job))

    def optima(self, **filters: Any) -> list[dict[str, Any]]:
        """Return the best known solutions of the DUFM; `filters`: num_classes, depth, decay."""
        return cast("list[dict[str, Any]]", self._call("GET", "optima", params=filters))

    def optimum(self, num_classes: int, depth: int, decay: float | None = None) -> dict[str, Any]:
        """Return the best known solution for K classes, L weights and this decay: loss, ranks, references."""
        cell = (str(num_classes), str(depth))
        return cast("dict[str, Any]", self._call("GET", "optima", *cell, params={"decay": decay}))

    def solution(self, num_classes: int, depth: int, decay: float | None = None) -> bytes:
        """Return the matrices of that solution, H_1 and W_1 … W_L, as a safetensors file."""
        path = (str(num_classes), str(depth), "solution.safetensors")
        return cast(bytes, self._call("GET", "optima", *path, params={"decay": decay}, binary=True))

    def phase_diagram(self, format: str = "svg", *, decay: float | None = None, theme: str | None = None) -> bytes:
        """Return the figure of all these solutions, by K and L: their ranks, and their losses over that of DNC."""
        params = {"decay": decay, "theme": theme}
        return cast(bytes, self._call("GET", "optima", "plots", f"phase-diagram.{format}", params=params, binary=True))

    def catalogue(self) -> Any:
        """Return every metric: name, title, formula, ideal, reference, scope."""
        return self._call("GET", "catalogue")

    def _pages(self, collection: str, filters: Mapping[str, Any]) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._call("GET", collection, params={**filters, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _call(self, method: str, *path: str, **options: Any) -> Any:
        return self._transport.request(method, _path(*path), **options)


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _id(job: str | JobView) -> str:
    return job if isinstance(job, str) else job["id"]


@contextlib.contextmanager
def _file(source: Source) -> Iterator[str | os.PathLike[str]]:
    """Give the path of a feature file; tensors are written to a temporary one."""
    if not isinstance(source, Mapping):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="collapse-") as folder:
        path = Path(folder, "features.safetensors")
        write_tensors(path, source)
        yield path


def _idempotent(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def _names(names: Iterable[str] | None) -> list[str] | None:
    """Return names as a list. A string is refused, whose letters would pass for names."""
    if isinstance(names, str):
        raise TypeError(f"give a list of names, such as [{names!r}]")
    return None if names is None else list(names)


def _list(names: Iterable[str] | None) -> str | None:
    """Return names as one value of the query."""
    given = _names(names)
    return None if given is None else ",".join(given)


def _wanted(
    metrics: Iterable[str] | None, layers: Iterable[str] | None, compare: str | None, history: bool
) -> dict[str, Any]:
    """Return the query of a series. Each name is a value of its own: a layer's may have commas."""
    asked = {"metric": _names(metrics), "layer": _names(layers), "compare": compare}
    return {**asked, "history": "true"} if history else asked
