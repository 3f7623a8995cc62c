"""`collapse doctor`: what does not fit together in database, files and queue, while the service runs or not."""

import time
from collections.abc import Callable, Iterator

from jobs.errors import Unavailable
from server.checks import FileChecks, Finding, JobChecks
from server.errors import CannotLook
from server.migrate import head_revision, revision_of
from server.storage import Storage

PAUSE_SECONDS = 3.0
"""A running service mends some of it by itself within moments: what is still there then is told."""


def examine(storage: Storage, *, mend: bool, content: bool) -> int:
    """Print what is found, one line each, and mend it if asked to: 0 if nothing is left, 1 if something is.

    Raises:
        CannotLook: if something could not be looked at.

    """
    there, newest = revision_of(storage.database), head_revision()
    if there != newest:
        print(f"schema: the database is at revision {there or 'none'}, this service needs {newest}: `collapse migrate`")
        return 1
    unlooked: list[str] = []
    left = found = 0
    for finding in _findings(storage, content, unlooked):
        found += 1
        outcome = finding.mend() if mend and finding.mend else None
        left += outcome is None
        print(f"{finding.subject}: {finding.detail}" + (f" — {outcome}" if outcome else ""))
    for reason in unlooked:
        print(f"not looked at: {reason}")
    print(f"{found} found, {found - left} mended")
    if unlooked:
        raise CannotLook("Not everything could be looked at; see above.")
    return 1 if left else 0


def _findings(storage: Storage, content: bool, unlooked: list[str]) -> Iterator[Finding]:
    files, jobs = FileChecks(storage), JobChecks(storage)
    checks: list[Callable[[], Iterator[Finding]]] = [
        jobs.database_itself,
        lambda: files.references(content=content),
        files.orphans,
        files.stale_uploads,
        lambda: _still_there(jobs.running_without_lease),
        lambda: _still_there(jobs.wrong_counts),
        lambda: _still_there(jobs.queued_without_message),
    ]
    for check in checks:
        try:
            yield from check()
        except Unavailable as error:
            unlooked.append(error.detail)


def _still_there(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    first = {finding.subject for finding in check()}
    if first:
        time.sleep(PAUSE_SECONDS)
        yield from (finding for finding in check() if finding.subject in first)
