"""Waiting for jobs without holding a thread or a connection each: one poller for all who wait in this process."""

import asyncio
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from jobs.errors import Unavailable
from jobs.store import JobStore

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Waiter:
    job_id: str
    version: int
    woken: "asyncio.Future[None]"


class JobWatcher:
    """Tells when the row of a job is no longer the version that somebody has seen.

    The database is the only thing that API processes and workers share for certain, so it is asked: one statement per
    round for everybody who waits, none while nobody does.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._waiters: set[_Waiter] = set()
        self._poller: asyncio.Task[None] | None = None
        self.stopped = False
        """Whether the process ends: those who waited answer with what there is."""

    async def changed(self, job_id: str, version: int, *, timeout_seconds: float) -> bool:
        """Wait until the row differs from `version` (or is gone).

        False if that takes longer than the time-out, or the process ends.
        """
        if self.stopped:
            return False
        waiter = _Waiter(job_id, version, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            await asyncio.wait_for(waiter.woken, timeout_seconds)
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    async def _poll(self) -> None:
        while self._waiters:
            await asyncio.sleep(POLL_SECONDS)
            watched = list(self._waiters)
            try:
                versions = await run_in_threadpool(self._jobs.versions, list({waiter.job_id for waiter in watched}))
            except Unavailable:
                continue  # they wait on; the time-out of each ends it
            for waiter in watched:
                if versions.get(waiter.job_id) != waiter.version and not waiter.woken.done():
                    waiter.woken.set_result(None)

    def stop(self) -> None:
        """Wake everybody, and let nobody wait from now on."""
        self.stopped = True
        for waiter in self._waiters:
            if not waiter.woken.done():
                waiter.woken.set_result(None)

    async def close(self) -> None:
        """Stop polling."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
