"""The one-call form: features and a `measure_collapse` job in one request."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from analysis.commands import MeasureCollapse
from api.access import CallerDependency
from api.answers import accepted
from api.documents import FILE_BODY, responses
from api.errors import InvalidRequest
from api.pointers import FieldError, field_errors
from api.routes.features import LONGEST_NAMES, names
from api.services import Services, ServicesDependency
from api.submission import IdempotencyKey, Labels, Prefer, submit, wait_seconds
from api.uploads import received
from api.views import FinishedJobView, JobView
from jobs.files import StagedFile
from jobs.tables import Job

router = APIRouter(prefix="/analyses", tags=["jobs"])
Names = Annotated[
    str | None,
    Query(max_length=LONGEST_NAMES, description="separated by commas; where they do not fit, use POST /v1/jobs"),
]


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    openapi_extra=FILE_BODY,
    responses=responses(400, 408, 413, 415, 507) | {200: {"model": FinishedJobView}},
)
async def analyse(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    run: Annotated[str | None, Query()] = None,
    step: Annotated[int | None, Query()] = None,
    tags: Names = None,
    layers: Names = None,
    metrics: Names = None,
    rank_tolerance: Annotated[float | None, Query()] = None,
    class_weighting: Annotated[str | None, Query(max_length=32)] = None,
    spectra: Names = None,
    expires_in_seconds: Annotated[int | None, Query(description="of the job; see POST /v1/jobs")] = None,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Upload a features file and measure it. Lists in the query are separated by commas."""
    labels = _validated(Labels, run=run, step=step, tags=names(tags), expires_in_seconds=expires_in_seconds)
    parameters: dict[str, Any] = {
        "kind": "measure_collapse",
        "layers": names(layers),
        "metrics": names(metrics),
        "rank_tolerance": rank_tolerance,
        "class_weighting": class_weighting,
        "spectra": names(spectra),
    }
    _validated(MeasureCollapse, features="unknown before the body is read", **parameters)
    await run_in_threadpool(services.queue.require_broker)
    await run_in_threadpool(services.quotas.require_room_in_queue, caller.owner)
    async with received(request, services, caller.owner) as staged:
        job = await run_in_threadpool(_submit, services, caller.owner, staged, parameters, labels, idempotency_key)
    return await accepted(services, job, wait_seconds=wait_seconds(prefer))


def _submit(
    services: Services,
    owner: str,
    staged: StagedFile,
    parameters: dict[str, Any],
    labels: Labels,
    idempotency_key: str | None,
) -> Job:
    row, created = services.feature_sets.add_whole(staged, layer_order=None, owner=owner)
    command = _validated(MeasureCollapse, features=row.id, **parameters)
    try:
        job, _ = submit(services, owner, command, labels, idempotency_key=idempotency_key, content=staged.sha256)
    except Exception:
        if created:
            services.feature_sets.delete(row.id)  # a refused request leaves nothing behind
        raise
    return job


def _validated(model: Any, **values: Any) -> Any:
    """What was given, as the model has it; errors point at the query."""
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise InvalidRequest(
            [
                FieldError(pointer=f"/query{entry.pointer}", detail=entry.detail)
                for entry in field_errors(error.errors())
            ]
        ) from error
