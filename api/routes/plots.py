"""The figures of reports."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from starlette.concurrency import run_in_threadpool

from api.answers import IfNoneMatch, has_already, not_modified
from api.documents import file_answer, responses
from api.ids import JobId
from api.plots import MEDIA_TYPES, Format
from api.services import Services, ServicesDependency
from api.views import PlotView
from jobs.tables import StoredReport

router = APIRouter(prefix="/jobs/{job_id}/plots", tags=["jobs"])
Name = Annotated[str, Path(max_length=255)]


async def _report(services: ServicesDependency, job_id: JobId) -> StoredReport:
    return await run_in_threadpool(services.jobs.report, job_id)


ReportDependency = Annotated[StoredReport, Depends(_report)]


@router.get("", response_model=list[PlotView], responses=responses(404, 409))
async def list_plots(services: ServicesDependency, report: ReportDependency) -> list[PlotView]:
    """List the figures of a report."""
    base = f"/v1/jobs/{report.job_id}/plots"
    return [
        PlotView(
            name=name,
            title=title,
            svg=f"{base}/{name}.svg",
            png=f"{base}/{name}.png",
            vega_lite=f"{base}/{name}.vl.json",
        )
        for name, title in await services.plots.names(report)
    ]


@router.get("/{name}.svg", response_class=Response, responses=responses(404, 409) | file_answer(MEDIA_TYPES["svg"]))
async def get_svg(
    services: ServicesDependency, report: ReportDependency, name: Name, if_none_match: IfNoneMatch = None
) -> Response:
    """Get a figure, to be scaled."""
    return await _plot(services, report, name, "svg", if_none_match)


@router.get("/{name}.png", response_class=Response, responses=responses(404, 409) | file_answer(MEDIA_TYPES["png"]))
async def get_png(
    services: ServicesDependency, report: ReportDependency, name: Name, if_none_match: IfNoneMatch = None
) -> Response:
    """Get a figure, in pixels."""
    return await _plot(services, report, name, "png", if_none_match)


@router.get("/{name}.vl.json", responses=responses(404, 409) | {304: {"description": "Not changed"}})
async def get_specification(
    services: ServicesDependency, report: ReportDependency, name: Name, if_none_match: IfNoneMatch = None
) -> Response:
    """Get the Vega-Lite specification of a figure, with its numbers."""
    return await _plot(services, report, name, "vl.json", if_none_match)


async def _plot(
    services: Services, report: StoredReport, name: str, form: Format, if_none_match: str | None
) -> Response:
    # The figure follows from the report and from the version of the service that draws it.
    etag = f'"{hashlib.sha256(f"{report.etag} {name} {form} {services.version}".encode()).hexdigest()}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    drawn = await services.plots.draw(report, name, form)
    return Response(drawn, media_type=MEDIA_TYPES[form], headers={"ETag": etag})
