"""What routes work with: built once by `app.py`, handed to routes as a dependency."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.plots import Plots
from api.rate_limits import RateLimits
from api.telemetry import Telemetry
from api.vega import VegaScript
from api.watch import JobWatcher
from jobs.artifacts import Artifacts
from jobs.feature_sets import FeatureSets
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.store import AuditStore, Database, JobStore, KeyStore, QuotaStore, RepairStore, WorkerStore


@dataclass(frozen=True)
class Services:
    """The parts of the service that the API talks to."""

    settings: Settings
    database: Database
    jobs: JobStore
    keys: KeyStore
    quotas: QuotaStore
    audit: AuditStore
    repair: RepairStore
    workers: WorkerStore
    feature_sets: FeatureSets
    artifacts: Artifacts
    queue: Queue
    rate_limits: RateLimits
    watcher: JobWatcher
    telemetry: Telemetry
    plots: Plots
    vega: VegaScript
    version: str
    """of the service"""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDependency = Annotated[Services, Depends(_services)]
