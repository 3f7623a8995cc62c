"""The figures of reports."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.documents import responses
from api.ids import JobId
from api.plot_routes import add_plot_routes, plot_view
from api.plots import Drawing, report_drawing, report_figures
from api.services import ServicesDependency
from api.views import PlotView
from jobs.tables import StoredReport

router = APIRouter(prefix="/jobs/{job_id}/plots", tags=["jobs"])


def _report(services: ServicesDependency, job_id: JobId) -> StoredReport:
    return services.jobs.report(job_id)


ReportDependency = Annotated[StoredReport, Depends(_report)]


@router.get("", response_model=list[PlotView], responses=responses(404, 409))
async def list_plots(services: ServicesDependency, report: ReportDependency) -> list[PlotView]:
    """List the figures of a report."""
    there = await services.plots.in_thread(lambda: report_figures(report))
    return [plot_view(f"/v1/jobs/{report.job_id}/plots", name, title) for name, title in there]


def _drawing(report: ReportDependency, name: Annotated[str, Path(max_length=255)]) -> Drawing:
    return report_drawing(report, name)


add_plot_routes(router, "/{name}", _drawing, problems=(404, 409))
