"""Our errors → HTTP, once: every error leaves as RFC 9457 problem+json with a stable `code` and words that help."""

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from api.allowed import allowed_methods
from api.pointers import FieldError, field_errors
from collapse_client.format import FormatError
from jobs.errors import (
    ClaimLost,
    Conflict,
    IdempotencyKeyReused,
    JobsError,
    NotFound,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    Unavailable,
)

logger = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5

STATUS_OF_ERROR: Mapping[type[JobsError], int] = {
    NotFound: 404,
    Conflict: 409,
    IdempotencyKeyReused: 422,
    TooLarge: 422,
    QuotaExceeded: 429,
    Unavailable: 503,
    ClaimLost: 503,
    StorageFull: 507,
}
STATUS_OF_FORMAT_ERROR = {"unsupported_format": 415, "unsafe_file": 422, "invalid_features": 422}
CODE_OF_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "upload_too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
}
DETAIL_OF_STATUS = {
    404: "There is nothing at this address. The service's OpenAPI document at /openapi.json lists what there is.",
    405: "This address does not take that method; the Allow header lists those it takes.",
    408: "The body came too slowly. Nothing was changed; send again.",
    413: "The body is larger than this address takes. Nothing was kept.",
}


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="a URI reference that names the kind of problem")
    title: str
    status: int
    detail: str = Field(description="what is wrong, and what to do")
    code: str = Field(description="a stable word for programs")
    errors: list[FieldError] | None = None
    request_id: str


class ApiError(Exception):
    """What only the API can find wrong."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors, self.headers = status, code, detail, errors, headers


class InvalidRequest(ApiError):
    """Readable, but wrong: one entry for each field."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        told = (f"{error.pointer}: {error.detail}" if error.pointer else error.detail for error in errors)
        super().__init__(422, "invalid_request", "; ".join(told), errors=errors)


def invalid_field(pointer: str, detail: str) -> InvalidRequest:
    """One field is wrong."""
    return InvalidRequest([FieldError(pointer=pointer, detail=detail)])


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The one shape in which errors leave."""
    body = Problem(
        type=f"/problems/{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors) or None,
        request_id=request_id(request),
    )
    # Starlette answers unexpected errors outside of the middleware that would add the id.
    all_headers = {**(headers or {}), "X-Request-ID": request_id(request)}
    if status in (429, 503):
        all_headers.setdefault("Retry-After", str(RETRY_SECONDS))
    return JSONResponse(body.model_dump(exclude_none=True), status, all_headers, media_type=MEDIA_TYPE)


def request_id(request: Request) -> str:
    """The id that the middleware gave this request."""
    state: dict[str, Any] = request.scope.get("state", {})
    return str(state.get("request_id") or uuid.uuid4().hex)


def add_error_handlers(app: FastAPI) -> None:
    """Register the translation of everything that can be raised below a route."""

    @app.exception_handler(ApiError)
    def api_error(request: Request, error: ApiError) -> JSONResponse:
        return problem(request, error.status, error.code, error.detail, errors=error.errors, headers=error.headers)

    @app.exception_handler(JobsError)
    def jobs_error(request: Request, error: JobsError) -> JSONResponse:
        again = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, QuotaExceeded) else None
        return problem(request, STATUS_OF_ERROR[type(error)], error.code, error.detail, headers=again)

    @app.exception_handler(FormatError)
    def format_error(request: Request, error: FormatError) -> JSONResponse:
        return problem(request, STATUS_OF_FORMAT_ERROR[error.code], error.code, str(error))

    @app.exception_handler(RequestValidationError)
    def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        if any(entry["type"] == "json_invalid" for entry in error.errors()):
            return problem(request, 400, "bad_request", "The body is not valid JSON. Send one JSON object, UTF-8.")
        invalid = InvalidRequest(field_errors(error.errors(), body=error.body))
        return problem(request, invalid.status, invalid.code, invalid.detail, errors=invalid.errors)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code
        detail = DETAIL_OF_STATUS.get(status, str(error.detail))
        headers = dict(error.headers or {})
        if status == 405 and (allowed := allowed_methods(app, request.url.path)):
            headers["Allow"] = ", ".join(allowed)
        return problem(request, status, CODE_OF_STATUS.get(status, "http_error"), detail, headers=headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("unexpected error", path=request.url.path, exc_info=error)
        return problem(
            request,
            500,
            "internal_error",
            "The service failed on this request; its log has the cause under this request_id.",
        )


def validation_problem(error: ValidationError) -> InvalidRequest:
    """What pydantic found wrong when a route validates by itself."""
    return InvalidRequest(field_errors(error.errors()))
