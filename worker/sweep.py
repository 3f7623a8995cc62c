"""The sweep: repairs what crashes leave behind. Idempotent, so that every worker may run it."""

import threading

import structlog
from prometheus_client import CollectorRegistry

from jobs.artifacts import Artifacts
from jobs.errors import Unavailable
from jobs.feature_sets import FeatureSets
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.store import AuditStore, RepairStore, WorkerStore
from jobs.tables import CPU, GPU, LARGE_CPU, LARGE_GPU
from worker.telemetry import SweepTelemetry

logger = structlog.get_logger()
HOUSEKEEPING_SECONDS = 300.0


class Sweep:
    """Ends or requeues jobs without an owner, sends messages that were lost, removes what has expired."""

    def __init__(
        self,
        settings: Settings,
        *,
        repair: RepairStore,
        workers: WorkerStore,
        queue: Queue,
        feature_sets: FeatureSets,
        artifacts: Artifacts,
        telemetry: SweepTelemetry | None = None,
    ) -> None:
        self.settings, self.repair, self.workers, self.queue = settings, repair, workers, queue
        self.feature_sets, self.artifacts = feature_sets, artifacts
        self.audit = AuditStore(repair.database)
        self.telemetry = telemetry or SweepTelemetry(CollectorRegistry())

    def sweep_jobs(self) -> None:
        """One round over the jobs table."""
        if self.settings.worker_name:
            self.workers.keep_alive(self.settings.worker_name)
        expired = self.repair.expire_leases(max_attempts=self.settings.max_attempts)
        for outcome in ("requeued", "failed", "cancelled"):
            self.telemetry.repaired(outcome, len(getattr(expired, outcome)))
            for job_id in getattr(expired, outcome):
                logger.warning("the owner of a job was lost", job_id=job_id, outcome=outcome)
        self._reroute()
        candidates = self.repair.perhaps_unsent(older_than_seconds=self.settings.resend_after_seconds)
        if not candidates:
            return
        waiting = self.queue.waiting()
        for job_id, queue in candidates.items():
            if job_id not in waiting:
                self.queue.enqueue(job_id, queue)
                self.telemetry.repaired("resent")
                logger.info("sent again a job whose message was lost", job_id=job_id)
        self.repair.mark_sent(candidates)

    def leave(self) -> None:
        """Nobody shall count on this worker any more."""
        if self.settings.worker_name:
            self.workers.leave(self.settings.worker_name)

    def _reroute(self) -> None:
        """What waits for a GPU goes to a CPU when the last GPU has gone, rather than wait for ever."""
        present = self.workers.present()
        served = {queue for worker in present for queue in worker.queues}
        for gpu, cpu in ((GPU, CPU), (LARGE_GPU, LARGE_CPU)):
            if cpu in served and gpu not in served and (moved := self.repair.reroute(gpu, cpu)):
                self.telemetry.repaired("rerouted", moved)
                logger.warning("no worker with a GPU is left: its jobs go to a CPU", jobs=moved)

    def keep_house(self) -> None:
        """One round over jobs, feature sets, the audit log and blobs."""
        jobs, sets = self.artifacts.delete_expired_jobs(), self.feature_sets.delete_expired()
        self.audit.delete_older(than_seconds=self.settings.audit_retention_seconds)
        # Without a look into the store, which would cost too much so often: `collapse gc` does that.
        files = self.artifacts.blobs.remove_garbage()
        if jobs or sets or files:
            logger.info("housekeeping", jobs_deleted=jobs, feature_sets_deleted=sets, files_removed=files)


class SweepThread:
    """Runs the sweep beside the worker's main loop until it is stopped."""

    def __init__(self, sweep: Sweep, *, interval_seconds: float) -> None:
        self._sweep, self._interval = sweep, interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stop.set()
        self._thread.join(timeout=10)

    def leave(self) -> None:
        """Say that this worker is no longer there, if there is still a database to tell."""
        try:
            self._sweep.leave()
        except Unavailable:
            logger.warning("nobody could be told that this worker ends: it is forgotten after a while")

    def _run(self) -> None:
        rounds_per_housekeeping = max(1, round(HOUSEKEEPING_SECONDS / self._interval))
        round_number = 0
        while not self._stop.is_set():
            try:
                self._sweep.sweep_jobs()
                if round_number % rounds_per_housekeeping == 0:
                    self._sweep.keep_house()
            except Unavailable as error:
                logger.warning("sweep postponed", code=error.code)
            except Exception:
                logger.exception("a round of the sweep failed; the next one tries again")
            round_number += 1
            self._stop.wait(self._interval)
