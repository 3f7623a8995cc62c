"""The audit log over HTTP, for whoever runs the service."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.access import administrator
from api.cursors import Cursor, cursor_after, in_utc, position
from api.documents import responses
from api.services import ServicesDependency
from api.submission import PRINTABLE
from jobs.store import AuditFilter

router = APIRouter(prefix="/audit", tags=["operation"], dependencies=[Depends(administrator)])


class AuditView(BaseModel):
    """One change that somebody made, or was refused."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    at: datetime
    owner: str
    key_id: str | None = Field(description="null without a key, and with the operator's")
    action: str = Field(description="such as submit_job, delete_features, create_key")
    object_id: str | None = Field(description="of the job, the feature set or the key")
    status: int | None = Field(description="of the answer; null for what was done from the command line")
    request_id: str | None


class AuditPage(BaseModel):
    """One page of changes, newest first."""

    items: list[AuditView]
    next_cursor: str | None


def _no_number(text: object) -> object:
    if isinstance(text, str) and not text[:5].endswith("-"):  # pydantic takes a number for seconds since 1970
        raise ValueError("no date and time like 2026-01-31T12:00:00Z")
    return text


def _within_utc(moment: datetime) -> datetime:
    if (found := in_utc(moment)) is None:
        raise ValueError("no time that UTC has a year for")
    return found


@router.get("", response_model=AuditPage, responses=responses())
def list_changes(
    services: ServicesDependency,
    since: Annotated[
        AwareDatetime | None,
        BeforeValidator(_no_number),
        AfterValidator(lambda moment: moment and _within_utc(moment)),
        Query(),
    ] = None,
    object: Annotated[
        str | None, Query(max_length=255, pattern=PRINTABLE, description="id of a job, a feature set or a key")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """List who changed what, newest first, of all owners: needs a key with the scope `admin`."""
    where = AuditFilter(since=since, object_id=object, after=position(cursor) if cursor else None)
    found = services.audit.list(where, limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    following = cursor_after(page[-1].at, page[-1].id) if more else None
    return AuditPage(items=[AuditView.model_validate(row) for row in page], next_cursor=following)
