"""The steps of a run that can be exported: those with a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from collapse_client.errors import NothingToExport

if TYPE_CHECKING:
    from collapse_client.client import Client


class MeasuredStep(NamedTuple):
    """A step, the job that measured it, and when that was submitted: the nearest to when training was there."""

    step: int
    job_id: str
    time: float


def measured_steps(client: Client, run: str) -> Sequence[MeasuredStep]:
    """The steps of a run that have a report, in order. Raises ServiceError, NothingToExport."""
    found = [
        MeasuredStep(step["step"], step["job_id"], seconds(step["created_at"]))
        for step in client.run(run)["steps"]
        if step["status"] == "succeeded" and step["step"] is not None
    ]
    if not found:
        raise NothingToExport(f"The run {run!r} has no report of any step yet: wait for its jobs, or give them a step.")
    return found


def seconds(time: str) -> float:
    """Seconds since 1970 of an RFC 3339 time.

    >>> seconds("1970-01-01T00:01:00.5Z")
    60.5
    """
    # Python 3.9 reads neither Z nor fractions of other than three or six digits.
    whole, _, rest = time.replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    zone = rest[digits:]
    moment = datetime.fromisoformat(whole + zone)
    return moment.timestamp() + (float(f"0.{rest[:digits]}") if digits else 0.0)
