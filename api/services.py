"""What routes work with: built once by `app.py`, handed to routes as a dependency."""

import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.errors import ApiError
from api.plots import Plots
from api.telemetry import Telemetry
from api.vega import VegaScript
from api.watch import JobWatcher
from jobs.artifacts import Artifacts
from jobs.feature_sets import FeatureSets
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.store import Database, JobStore, RepairStore, RunStore, WorkerStore


@dataclass(frozen=True)
class Services:
    """The parts of the service that the API talks to."""

    settings: Settings
    database: Database
    jobs: JobStore
    runs: RunStore
    repair: RepairStore
    workers: WorkerStore
    feature_sets: FeatureSets
    artifacts: Artifacts
    queue: Queue
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


def require_key(request: Request, services: ServicesDependency) -> None:
    """Where a key is set, let nobody in without it."""
    expected = services.settings.api_key
    if expected is None:
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not secrets.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise ApiError(
            401,
            "unauthorized",
            "Send the service's key as 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
