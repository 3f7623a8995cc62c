"""Cursors of pages: where the page before ended, as a word that clients pass back unread."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from api.errors import invalid_field

Cursor = Annotated[str | None, Query(max_length=2048, description="next_cursor of the page before")]


def cursor_after(moment: datetime, name: str) -> str:
    """The cursor of a page whose last item has this time and this name."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {name}".encode()).decode()


def in_utc(moment: datetime) -> datetime | None:
    """The same moment in UTC; None without a zone, or where UTC has no such year."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else None
    except OverflowError:
        return None


def position(cursor: str) -> tuple[datetime, str]:
    """Time and name in a cursor; 422 where it is none of ours.

    >>> position(cursor_after(datetime.fromisoformat("2026-11-01T00:00:00+00:00"), "a run"))
    (datetime.datetime(2026, 11, 1, 0, 0, tzinfo=datetime.timezone.utc), 'a run')
    """
    try:
        written, _, name = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        moment = in_utc(datetime.fromisoformat(written))
    except (ValueError, binascii.Error):
        moment = None
    if moment is None or not name or "\0" in name:
        raise invalid_field(
            "/query/cursor", "not a cursor of this service; pass next_cursor of the page before, as it came"
        )
    return moment, name
