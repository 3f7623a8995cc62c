"""Answers that several routes give about a job."""

import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Header, Response
from starlette.concurrency import run_in_threadpool

from analysis.report import Report
from api.services import Services
from api.views import FinishedJobView, JobView
from jobs.tables import ENDED, SUCCEEDED, Job

POLL_AFTER_SECONDS = 1
IfNoneMatch = Annotated[str | None, Header(max_length=1024)]


async def wait_until_ended(services: Services, job: Job, *, seconds: float) -> Job:
    """The job when it has ended, or as it is after so many seconds, or when this process ends."""
    deadline = time.monotonic() + seconds
    while job.status not in ENDED and not services.watcher.stopped and (left := deadline - time.monotonic()) > 0:
        await services.watcher.changed(job.id, job.version, timeout_seconds=left)
        job = await run_in_threadpool(services.jobs.get, job.id)
    return job


async def accepted(services: Services, job: Job, *, wait_seconds: int) -> Response:
    """202 with the job as it stands; 200 with its report if it was to be waited for and has ended in time."""
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if wait_seconds:
        headers["Preference-Applied"] = f"wait={wait_seconds}"
        job = await wait_until_ended(services, job, seconds=wait_seconds)
        if job.status in ENDED:
            return await run_in_threadpool(_finished, services, job, headers)
    headers["Retry-After"] = str(POLL_AFTER_SECONDS)
    view = await run_in_threadpool(job_view, services, job)
    return Response(view.model_dump_json(), 202, headers, media_type="application/json")


def job_view(services: Services, job: Job) -> JobView:
    """A job as it stands, with its children where it has any."""
    return job_views(services, [job])[0]


def job_views(services: Services, jobs: Sequence[Job]) -> list[JobView]:
    """The same of many jobs, with one look at all their children."""
    parents = [job.id for job in jobs if job.num_children]
    counts = services.jobs.children_by_status(parents) if parents else {}
    return [JobView.of(job, counts.get(job.id)) for job in jobs]


def _finished(services: Services, job: Job, headers: dict[str, str]) -> Response:
    report = None
    if job.status == SUCCEEDED:
        report = Report.model_validate_json(services.jobs.report(job.id).body)
    view = FinishedJobView(**dict(job_view(services, job)), report=report)
    return Response(view.model_dump_json(), 200, headers, media_type="application/json")


def job_etag(job: Job) -> str:
    """Changes with every change of the row."""
    return f'"{job.id}-{job.version}"'


def not_modified(etag: str) -> Response:
    """The client has it already."""
    return Response(status_code=304, headers={"ETag": etag})


def has_already(if_none_match: str | None, etag: str) -> bool:
    """Whether the client said that it has this version."""
    return if_none_match is not None and (if_none_match.strip() == "*" or etag in if_none_match)
