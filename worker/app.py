"""The composition root of the worker's parent process: a Celery consumer that rings the child, and the sweep.

The pool is prefork with the start method "spawn": a forked child of a parent that has used torch hangs for ever, and
CUDA cannot be initialised twice. Messages are acknowledged early, because the database row is the truth.
"""

import os
import signal
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from jobs.artifacts import Artifacts
from jobs.blobs import Blobs
from jobs.exposition import Exposition
from jobs.feature_sets import FeatureSets
from jobs.files import open_file_store
from jobs.logs import configure_logs
from jobs.queue import Queue, create_celery
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, RepairStore, WorkerStore
from worker.child import STOP_SIGNAL, ask_to_stop
from worker.machine import look_around
from worker.metrics_server import MetricsServer
from worker.sweep import Sweep, SweepThread
from worker.telemetry import SweepTelemetry

HARD_LIMIT_GRACE_SECONDS = 60
CHILD_START_SECONDS = 120


def create_worker(settings: Settings) -> Celery:
    """The publisher's Celery application with all that a worker needs besides."""
    app = create_celery(settings.broker_url)
    app.conf.update(
        include=["worker.child"],
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a prefetched short job waits behind a long one
        worker_max_tasks_per_child=settings.worker_max_tasks,
        # A child imports torch before it reports for work; at the default of 4 s it is killed and started anew, always.
        worker_proc_alive_timeout=CHILD_START_SECONDS,
        task_acks_late=False,
        # The last fence; the lease's own limit comes first.
        task_time_limit=settings.job_time_limit_seconds + HARD_LIMIT_GRACE_SECONDS,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


def create_sweep(settings: Settings, celery: Celery, exposition: Exposition) -> Sweep:
    """The sweep with its own connections."""
    database = Database(settings.database)
    exposition.count_connections(database)
    blobs = Blobs(open_file_store(settings), BlobStore(database))
    feature_sets = FeatureSets(settings, FeaturesStore(database), blobs)
    return Sweep(
        settings,
        repair=RepairStore(database),
        workers=WorkerStore(database),
        queue=Queue(celery),
        feature_sets=feature_sets,
        artifacts=Artifacts(JobStore(database), blobs),
        telemetry=SweepTelemetry(exposition.own),
    )


def main() -> None:
    """Run until SIGTERM (the running job goes back to the queue) or SIGQUIT."""
    # Before torch is imported anywhere below: two OpenMP threads beside a busy core are slower, not faster.
    settings = Settings()
    machine = look_around(settings)
    settings = settings.model_copy(update={"worker_name": machine.name})
    os.environ["COLLAPSE_WORKER_NAME"] = machine.name  # its child speaks under the same name
    # A child inherits this until it has its own handler: while it still starts, it has no job to hand back.
    signal.signal(STOP_SIGNAL, signal.SIG_IGN)
    # Celery warns root of messages that carry code; ours are JSON and nothing else is accepted.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.worker_threads))
    configure_logs(settings)
    celery = create_worker(settings)
    exposition = Exposition(settings.metrics_dir)
    sweep = SweepThread(create_sweep(settings, celery, exposition), interval_seconds=settings.sweep_seconds)
    children: list[Any] = []

    @signals.worker_ready.connect(weak=False)
    def started(sender: Any, **_: Any) -> None:
        children.append(sender.pool)
        sweep.start()
        if settings.worker_metrics_port:
            MetricsServer(exposition.told, host=settings.worker_metrics_host, port=settings.worker_metrics_port).start()

    @signals.worker_shutting_down.connect(weak=False)
    def stopping(**_: Any) -> None:
        for pool in children:
            for process_id in pool.info["processes"]:
                ask_to_stop(process_id)

    @signals.worker_shutdown.connect(weak=False)
    def stopped(**_: Any) -> None:
        sweep.stop()
        sweep.leave()

    celery.worker_main(
        [
            # The level of what a child says before it has set up its own logs; ours is in the settings.
            *("--quiet", "worker", "--loglevel=WARNING", "--without-gossip", "--without-mingle"),
            f"--hostname={machine.name}",
            f"--queues={','.join(machine.queues)}",
        ]
    )
