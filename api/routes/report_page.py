"""The report of a job as one page, to be read without the service."""

import hashlib
import json
from typing import Any, get_args

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from api.answers import IfNoneMatch, has_already, job_etag, job_view, not_modified
from api.documents import DESCRIPTIONS, responses
from api.ids import OwnJob
from api.plots import Theme, report_drawing, report_figures
from api.report_page import POLICY, Figure, chosen_figures, page
from api.services import ServicesDependency

router = APIRouter(prefix="/jobs", tags=["jobs"])
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    304: {"description": DESCRIPTIONS[304]},
}


@router.get("/{job_id}/report.html", response_class=Response, responses=responses(404, 409) | ANSWERS)
async def get_report_page(services: ServicesDependency, job: OwnJob, if_none_match: IfNoneMatch = None) -> Response:
    """Get the report of a succeeded job as one HTML file: in words, figures and tables, with its JSON to download."""
    report = await run_in_threadpool(services.jobs.report, job.id)
    view = await run_in_threadpool(job_view, services, job)
    etag = f'"{hashlib.sha256(f"{report.etag} {job_etag(job)} {services.version}".encode()).hexdigest()}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    titles = dict(await services.plots.in_thread(lambda: report_figures(report)))
    content = await services.plots.in_thread(lambda: json.loads(report.body))
    figures = []
    for name in chosen_figures(list(titles)):
        drawing = report_drawing(report, name)
        light, dark = [(await services.plots.draw(drawing, "svg", theme)).decode() for theme in get_args(Theme)]
        figures.append(Figure(titles[name], light, dark))
    html = await services.plots.in_thread(lambda: page(view.model_dump(mode="json"), content, report.body, figures))
    return Response(
        html,
        media_type="text/html",
        headers={
            "ETag": etag,
            "Content-Disposition": f'inline; filename="report-{job.id}.html"',
            "Content-Security-Policy": f"{POLICY}; sandbox allow-downloads",
        },
    )
