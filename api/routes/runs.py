"""Runs: the analyses of one training, by step, and series of what they measured."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from analysis.metrics import catalogue
from api.answers import IfNoneMatch, has_already, not_modified
from api.cursors import Cursor, cursor_after, position
from api.documents import BINARY, DESCRIPTIONS, responses
from api.encoded_paths import EncodedRoute, RunName
from api.ids import OwnRuns
from api.plot_routes import add_plot_routes, plot_view
from api.plots import Drawing, Specification
from api.series_files import WRITERS, Format
from api.services import ServicesDependency
from api.submission import LONGEST_RUN_NAME, PRINTABLE
from api.views import PlotView, RunDetailView, RunPage, RunView, SeriesRowView, run_address
from jobs.errors import NotFound
from jobs.series import Series, Wanted

router = APIRouter(prefix="/runs", tags=["runs"], route_class=EncodedRoute)
MOST_NAMES = 500
ANALYSES_LOOKED_AT = 64
NOT_CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": DESCRIPTIONS[304]}}

Compare = Annotated[
    str | None, Query(min_length=1, max_length=LONGEST_RUN_NAME, pattern=PRINTABLE, description="another run")
]
Layers = Annotated[list[str], Query(max_length=MOST_NAMES, description="may be repeated; all where it is left out")]
Metrics = Annotated[list[str], Query(max_length=MOST_NAMES, description="may be repeated; all where it is left out")]


@router.get("", response_model=RunPage, responses=responses())
def list_runs(
    runs: OwnRuns,
    query: Annotated[
        str | None, Query(max_length=LONGEST_RUN_NAME, pattern=PRINTABLE, description="a part of the name")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor = None,
) -> RunPage:
    """List runs, last changed first."""
    after = position(cursor) if cursor else None
    found = runs.list(query=query, after=after, limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    following = cursor_after(page[-1].updated_at, page[-1].run) if more else None
    return RunPage(items=[RunView.of(row) for row in page], next_cursor=following)


@router.get("/{run}", response_model=RunDetailView, responses=responses(404) | NOT_CHANGED)
def get_run(runs: OwnRuns, run: RunName, if_none_match: IfNoneMatch = None) -> Response:
    """Get a run: its steps, and which layers and metrics its reports have."""
    view = RunDetailView.of_run(runs.get(run), runs.analyses(run), runs.contents(run))
    content = view.model_dump_json().encode()
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    return Response(content, media_type="application/json", headers={"ETag": etag})


SERIES_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": list[SeriesRowView],
        "content": {"text/csv": {"schema": {"type": "string"}}, WRITERS["parquet"][0]: {"schema": BINARY}},
    }
}


@router.get("/{run}/series", response_class=Response, responses=responses(404) | NOT_CHANGED | SERIES_ANSWER)
def get_series(
    services: ServicesDependency,
    runs: OwnRuns,
    run: RunName,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006 (FastAPI copies it)
    compare: Compare = None,
    history: Annotated[bool, Query(description="with what was measured by analyses that later ones replaced")] = False,
    format: Annotated[Format, Query(description="json: a list of objects")] = "json",
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get what the steps of a run measured: one row for each step, layer and metric; of two runs, to compare them.

    A later analysis of the same step that has succeeded replaces the one before. Rows without a step come last.
    """
    series = Series(runs, run, Wanted(metrics=metric, layers=layer, compare=compare, history=history))
    etag = f'"{hashlib.sha256(f"{series.identity} {format} {services.version}".encode()).hexdigest()}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    media_type, write = WRITERS[format]
    headers = {"ETag": etag}
    if format != "json":
        headers["Content-Disposition"] = f'attachment; filename="series.{format}"'
    return StreamingResponse(_begun(write(series.blocks())), media_type=media_type, headers=headers)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same, its beginning made already: what fails there is answered with a problem, not with half a file."""
    return chain([next(pieces, b""), next(pieces, b"")], pieces)


@router.get("/{run}/plots", response_model=list[PlotView], responses=responses(404))
def list_plots(runs: OwnRuns, run: RunName) -> list[PlotView]:
    """List the figures of a run: one for each metric that has a value in its first, its last, or the steps between.

    They take `layer`, which may be repeated, `compare` and `theme`.
    """
    series = Series(runs, run, Wanted())
    of_run = series.runs[0].analyses
    looked_at = [of_run[index] for index in _evenly(len(of_run), ANALYSES_LOOKED_AT)]
    valued = runs.valued_metrics([analysis.job_id for analysis in looked_at])
    return [
        plot_view(f"{run_address(run)}/plots", name, f"{entry.title}, step by step")
        for name, entry in catalogue().items()
        if name in valued
    ]


def _evenly(number: int, most: int) -> list[int]:
    """At most so many of the indices below `number`, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return [round(index * (number - 1) / (most - 1)) for index in range(most)]


def _drawing(
    runs: OwnRuns,
    run: RunName,
    name: Annotated[str, Path(max_length=255, description="name of a metric")],
    layer: Layers = [],  # noqa: B006 (FastAPI copies it)
    compare: Compare = None,
) -> Drawing:
    series = Series(runs, run, Wanted(metrics=[name], layers=layer, compare=compare))

    def specify(dark: bool) -> Specification:
        import figures

        steps = {one.name: [analysis for analysis in one.analyses if analysis.step is not None] for one in series.runs}
        drawn = figures.steps_to_draw({run: len(of_run) for run, of_run in steps.items()}, layers=len(series.layers))
        rows = [
            row._asdict()
            for one in series.runs
            for row in series.rows(one, [steps[one.name][index] for index in drawn[one.name]])
        ]
        if all(row["value"] is None for row in rows):
            raise NotFound("plot_not_found", f"No step of run {run[:64]!r} has a value of {name}: nothing to draw.")
        return figures.metric_by_step(rows, _entry(name), num_steps=max(map(len, steps.values())), dark=dark)

    return Drawing(series.identity, specify)


def _entry(metric: str) -> dict[str, Any]:
    """What the catalogue says; of a metric that another version of the service measured, its name."""
    entry = catalogue().get(metric)
    return entry.model_dump() if entry else {"name": metric, "title": metric, "scale": "linear", "ideal": None}


add_plot_routes(router, "/{run}/plots/{name}", _drawing, problems=(404,))
