"""Jobs over HTTP: one set of routes for every kind."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from analysis.report import Report
from api.access import CallerDependency, still_admitted
from api.answers import (
    IfNoneMatch,
    accepted,
    has_already,
    job_etag,
    job_view,
    job_views,
    not_modified,
    wait_until_ended,
)
from api.bodies import BoundedRoute
from api.cursors import Cursor, cursor_after, position
from api.documents import responses
from api.ids import JobId, OwnJob
from api.services import ServicesDependency
from api.submission import (
    LONGEST_WAIT_SECONDS,
    PRINTABLE,
    IdempotencyKey,
    Labels,
    Prefer,
    Submission,
    command_of,
    submit,
    wait_seconds,
)
from api.verdict import verdict
from api.views import FinishedJobView, JobPage, JobStatus, JobView, VerdictView
from jobs.store import Filter
from jobs.tables import ENDED

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)
Text = Annotated[str | None, Query(max_length=255, pattern=PRINTABLE)]


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses=responses(400, 404, 409, 413) | {200: {"model": FinishedJobView}},
)
async def submit_job(
    services: ServicesDependency,
    caller: CallerDependency,
    submission: Submission,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Queue a job."""
    labels = Labels.model_validate(submission.model_dump(include=set(Labels.model_fields)))
    job, _ = await run_in_threadpool(
        submit, services, caller.owner, command_of(submission), labels, idempotency_key=idempotency_key
    )
    return await accepted(services, job, wait_seconds=wait_seconds(prefer))


@router.get("", response_model=JobPage, responses=responses())
def list_jobs(
    services: ServicesDependency,
    caller: CallerDependency,
    status: Annotated[JobStatus | None, Query()] = None,
    kind: Text = None,
    run: Text = None,
    tag: Text = None,
    parent: Text = None,
    query: Annotated[
        str | None,
        Query(
            max_length=255,
            pattern=PRINTABLE,
            description="part of the name of the run or of a tag, or an id's beginning",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor = None,
) -> JobPage:
    """List jobs, newest first."""
    after = position(cursor) if cursor else None
    where = Filter(
        owner=caller.owner, status=status, kind=kind, run=run, tag=tag, parent=parent, query=query, after=after
    )
    found = services.jobs.list(where, limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    following = cursor_after(page[-1].created_at, page[-1].id) if more else None
    return JobPage(items=job_views(services, page), next_cursor=following)


@router.get("/{job_id}", response_model=JobView, responses=responses(404) | {304: {"description": "Not changed"}})
async def get_job(
    services: ServicesDependency,
    job: OwnJob,
    wait: Annotated[
        int, Query(ge=0, le=LONGEST_WAIT_SECONDS, description="answer when the job ends, at the latest after N s")
    ] = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a job as it stands, at once or when it has ended."""
    job = await wait_until_ended(services, job, seconds=wait)
    etag = job_etag(job)
    if has_already(if_none_match, etag):
        return not_modified(etag)
    view = await run_in_threadpool(job_view, services, job)
    return Response(view.model_dump_json(), media_type="application/json", headers={"ETag": etag})


async def _counted(services: ServicesDependency) -> AsyncIterator[None]:
    with services.telemetry.listeners.track_inprogress():
        yield


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=responses(404),
    dependencies=[Depends(_counted)],
)
async def job_events(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    job: OwnJob,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job as server-sent events: `state` when its status changes, `progress` in between, each a job view.

    The id of an event is the version of the row; with `Last-Event-ID` nothing is told twice.
    """
    seen_version = int(last_event_id) if last_event_id and last_event_id.isdigit() else 0
    seen_status: str | None = None
    while True:
        if job.version > seen_version:
            name = "progress" if job.status == seen_status else "state"
            view = await run_in_threadpool(job_view, services, job)
            yield ServerSentEvent(event=name, id=str(job.version), data=view.model_dump(mode="json"))
        seen_status = job.status
        if job.status in ENDED:
            return
        seen_version = max(job.version, seen_version)
        await services.watcher.changed(job.id, job.version, timeout_seconds=LONGEST_WAIT_SECONDS)
        if services.watcher.stopped or await request.is_disconnected():
            return
        if not await run_in_threadpool(still_admitted, services, caller):
            return
        job = await run_in_threadpool(services.jobs.get, job.id)


@router.post("/{job_id}/cancel", status_code=202, response_model=JobView, responses=responses(404, 409))
def cancel_job(services: ServicesDependency, job_id: JobId) -> JobView:
    """Ask a job and its children to stop: a queued one is cancelled at once, a running one within seconds."""
    return job_view(services, services.jobs.request_cancel(job_id))


@router.delete("/{job_id}", status_code=204, responses=responses(404, 409))
def delete_job(services: ServicesDependency, job_id: JobId) -> None:
    """Remove an ended job with its report and artifacts, and its children with theirs."""
    services.artifacts.delete_job(job_id)


@router.get(
    "/{job_id}/report", response_model=Report, responses=responses(404, 409) | {304: {"description": "Not changed"}}
)
def get_report(services: ServicesDependency, job_id: JobId, if_none_match: IfNoneMatch = None) -> Response:
    """Get the report of a succeeded job."""
    report = services.jobs.report(job_id)
    etag = f'"{report.etag}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    return Response(report.body, media_type="application/json", headers={"ETag": etag})


@router.get(
    "/{job_id}/verdict",
    response_model=VerdictView,
    responses=responses(404, 409) | {304: {"description": "Not changed"}},
)
def get_verdict(services: ServicesDependency, job_id: JobId, if_none_match: IfNoneMatch = None) -> Response:
    """Get what the report of a succeeded job says, in sentences."""
    report = services.jobs.report(job_id)
    etag = f'"{report.etag}-{services.version}"'  # another version may have other words
    if has_already(if_none_match, etag):
        return not_modified(etag)
    view = VerdictView(job_id=job_id, sentences=verdict(json.loads(report.body)))
    return Response(view.model_dump_json(), media_type="application/json", headers={"ETag": etag})
