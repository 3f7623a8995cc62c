"""For those who run the service: alive, ready, and numbers."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from api.services import ServicesDependency
from jobs.errors import Unavailable

router = APIRouter(tags=["operation"])
State = Literal["ok", "away"]


class Readiness(BaseModel):
    """Which parts answer."""

    status: Literal["ready", "not_ready"]
    database: State
    broker: State
    worker: State


@router.get("/healthz")
def health() -> dict[str, str]:
    """Answer: this process is alive."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def readiness(response: Response, services: ServicesDependency) -> Readiness:
    """Ask database, broker and a worker; 503 unless all answer."""
    database: State = "ok" if _answers(services.database.ping) else "away"
    broker: State = "ok" if _answers(services.queue.require_broker) else "away"
    worker: State = "ok" if broker == "ok" and services.queue.worker_answers() else "away"
    ready = {database, broker, worker} == {"ok"}
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", database=database, broker=broker, worker=worker)


def _answers(ask: Callable[[], None]) -> bool:
    try:
        ask()
    except Unavailable:
        return False
    return True


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(services: ServicesDependency) -> Response:
    """Get the numbers of this process and of the jobs, as Prometheus reads them."""
    return Response(services.telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)
