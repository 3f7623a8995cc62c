"""The lease of a running job: kept by a thread, looked at by the computation, and the only way to write its end.

Two clocks run apart. The thread renews the lease while the process lives; `progress` is written by the computation
itself, so a hung kernel shows as progress that stands still although the lease is fresh. When the computation does
not notice within the grace time that it must stop, the thread writes the end and ends the process: nothing else can
stop a call that never returns to Python.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from types import TracebackType
from typing import Literal, Protocol, Self

import structlog

from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.store import ArtifactFile, JobStore, MeasurementRow, NewJob, Standing

logger = structlog.get_logger()
PROGRESS_SECONDS = 1.0
RETRY_SECONDS = 0.5
Reason = Literal["cancelled", "released", "lease_lost", "time_limit"]

TIME_LIMIT_DETAIL = (
    "The job ran longer than this service allows ({seconds:g} s). Make it smaller, or ask for a higher limit."
)


class Stopped(BaseException):  # not an Exception: no library may swallow it
    """Raised inside the computation when it must end."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def end_process() -> None:
    """Die at once, with nothing run on the way: the only fence against code that does not return."""
    os.kill(os.getpid(), signal.SIGKILL)


class Observer(Protocol):
    """Who is told what becomes of a job."""

    def entered(self, phase: str) -> None:
        """The computation is in this phase."""

    def ended(self, code: str) -> None:
        """The attempt is over: `succeeded`, or what was in its way."""


class _Nobody:
    def entered(self, phase: str) -> None:
        pass

    def ended(self, code: str) -> None:
        pass


class Lease:
    """Held from the claim to the end of one job."""

    def __init__(
        self,
        jobs: JobStore,
        settings: Settings,
        *,
        job_id: str,
        token: str,
        stopping: threading.Event,
        die: Callable[[], None] = end_process,
        observer: Observer | None = None,
    ) -> None:
        self._jobs, self._settings, self._job_id, self._token = jobs, settings, job_id, token
        self._stopping, self._die = stopping, die
        self._observer = observer or _Nobody()
        self._started = time.monotonic()
        self._renewed = self._started
        self._written = float("-inf")
        self._reason: Reason | None = None
        self._ended = threading.Event()
        # In a copy of this context: its log lines carry the ids of the job as well.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._keep,), name=f"lease-{job_id}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    # -- the computation -------------------------------------------------------------------------------------------

    def progress(self, *, phase: str, current: int, total: int) -> None:
        """Write how far the job is, once a second at most; raises `Stopped` when it must end."""
        self._raise_if_stopped()
        self._observer.entered(phase)
        now = time.monotonic()
        if now - self._written < PROGRESS_SECONDS:
            return
        self._written = now
        try:
            standing = self._jobs.progress(self._job_id, self._token, phase=phase[-255:], current=current, total=total)
        except Unavailable:
            return  # the database is away: the thread decides when that is too long
        self._note(standing)
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._stopping.is_set() and self._reason is None:
            self._reason = "released"
        if self._reason is not None:
            raise Stopped(self._reason)

    def succeed(
        self, *, body: str, etag: str, measurements: Sequence[MeasurementRow], artifacts: Sequence[ArtifactFile]
    ) -> None:
        """Write report and end together; raises `Stopped` if the lease is gone."""
        if not self._insist(
            lambda: self._jobs.succeed(
                self._job_id, self._token, body=body, etag=etag, measurements=measurements, artifacts=artifacts
            )
        ):
            raise Stopped("lease_lost")
        self._observer.ended("succeeded")

    def wait_for_children(self, children: Sequence[NewJob], *, artifacts: Sequence[ArtifactFile]) -> Sequence[str]:
        """Give the job up until these have ended, and get their ids; raises `Stopped` if the job must end."""
        made: list[Sequence[str] | None] = []

        def write() -> bool:
            made.append(self._jobs.wait_for_children(self._job_id, self._token, children, artifacts=artifacts))
            return made[-1] is not None

        if not self._insist(write):
            self._note(self._jobs.renew(self._job_id, self._token, lease_seconds=self._settings.lease_seconds))
            raise Stopped(self._reason or "lease_lost")
        self._observer.ended("waits_for_children")
        return made[-1] or ()

    def fail(self, *, code: str, detail: str) -> None:
        """Write the end of a job that failed; nothing is written if the lease is gone."""
        written = self._insist(lambda: self._jobs.fail(self._job_id, self._token, code=code, detail=detail))
        self._observer.ended(code if written else "lease_lost")

    def _insist(self, write: Callable[[], bool]) -> bool:
        """Outlast a short absence of the database; the token in the statement keeps a late write from doing harm."""
        while True:
            try:
                return write()
            except Unavailable:
                if self._reason == "lease_lost":
                    raise
                time.sleep(RETRY_SECONDS)

    def stop(self, stopped: Stopped) -> None:
        """Write what a stop means for the row."""
        if stopped.reason == "cancelled":
            self._jobs.confirm_cancel(self._job_id, self._token)
        elif stopped.reason == "released":
            self._jobs.release(self._job_id, self._token)
        elif stopped.reason == "time_limit":
            detail = TIME_LIMIT_DETAIL.format(seconds=self._settings.job_time_limit_seconds)
            self._jobs.fail(self._job_id, self._token, code="time_limit_exceeded", detail=detail)
        self._observer.ended(stopped.reason)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        interval = min(1.0, self._settings.lease_seconds / 4)
        while self._reason is None:
            if self._ended.wait(interval):
                return
            if self._reason is None:
                self._renew()
        if not self._ended.wait(self._settings.cancel_grace_seconds):
            self._end_by_force(self._reason)

    def _renew(self) -> None:
        if time.monotonic() - self._started > self._settings.job_time_limit_seconds:
            self._reason = "time_limit"
        elif self._stopping.is_set():
            self._reason = "released"
        try:
            self._note(self._jobs.renew(self._job_id, self._token, lease_seconds=self._settings.lease_seconds))
            self._renewed = time.monotonic()
        except Unavailable:
            if time.monotonic() - self._renewed > self._settings.lease_seconds:
                self._reason = "lease_lost"  # by now somebody else may have it

    def _note(self, standing: Standing) -> None:
        if not standing.lease_held:
            self._reason = "lease_lost"
        elif standing.cancel_requested_at is not None and self._reason is None:
            self._reason = "cancelled"

    def _end_by_force(self, reason: Reason) -> None:
        logger.warning("the computation does not stop; ending its process", job_id=self._job_id, reason=reason)
        try:
            self.stop(Stopped(reason))
        except Unavailable:
            logger.warning("the database is away: the lease will run out instead", job_id=self._job_id)
        self._die()
