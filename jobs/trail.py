"""The trail of a job: what leads from its log lines and spans back to the request that made it."""

from dataclasses import dataclass

import structlog
from opentelemetry.propagate import inject


@dataclass(frozen=True)
class Trail:
    """Kept in the job's row, so that whoever runs it can take it up."""

    request_id: str | None = None
    traceparent: str | None = None
    """W3C trace context; None while nothing is traced"""


def current_trail() -> Trail:
    """Of the request that is being answered, or of the job that is being run."""
    carrier: dict[str, str] = {}
    inject(carrier)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return Trail(request_id=request_id, traceparent=carrier.get("traceparent"))
