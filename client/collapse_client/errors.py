"""What can go wrong on this side.

    CollapseError
    ├── ServiceError         the service said no: its status, code, detail, errors and request_id
    ├── ServiceUnreachable   nobody answers at that address
    ├── JobFailed            the job ended without a report: the service's own code and detail
    ├── WaitTimeout          the job has not ended in the time that you gave it
    ├── MissingLibrary       an optional library is not installed: which, and how to get it
    ├── NothingToExport      a run has no report yet
    ├── ExportFailed         the other tool refused: its own words
    └── Unanswerable         a gate's question has no answer: no such layer, no value, …
        └── BadCondition     it cannot be read

The text of each says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collapse_client.views import FieldError, JobView


class CollapseError(Exception):
    """Anything that this client raises by itself, apart from the format's FormatError."""


class ServiceError(CollapseError):
    """The service answered with an error (RFC 9457); `code` is for programs, `detail` says what to do."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, tuple(errors)
        self.request_id, self.retry_after_seconds = request_id, retry_after_seconds


class ServiceUnreachable(CollapseError):
    """No answer: the service is not running, the address is wrong, or the connection broke."""


class JobFailed(CollapseError):
    """The job failed or was cancelled; `job` is its last view."""

    def __init__(self, job: JobView) -> None:
        error = job.get("error") or {"code": "cancelled", "detail": f"The job {job['id']} was cancelled."}
        super().__init__(error["detail"])
        self.job, self.code, self.detail = job, error["code"], error["detail"]


class WaitTimeout(CollapseError):
    """The job goes on; `job` is its last view. Call `wait` again, or cancel it."""

    def __init__(self, job: JobView) -> None:
        super().__init__(f"The job {job['id']} is still {job['status']}: wait longer, or cancel it.")
        self.job = job


class MissingLibrary(CollapseError, ImportError):
    """An optional library is not installed; the text says what to install."""

    def __init__(self, library: str, *, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'collapse-client[{extra}]'")


class NothingToExport(CollapseError):
    """The run has no report of a step yet."""


class ExportFailed(CollapseError):
    """The tool that was to be exported to refused; the text has its own words."""


class Unanswerable(CollapseError):
    """A gate cannot tell: what it asks about is not there, or has no value."""


class BadCondition(Unanswerable):
    """A gate's condition cannot be read."""
