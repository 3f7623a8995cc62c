"""The composition root of the API process: builds every part once and hangs the routes on it."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from api.access import caller
from api.audit import AuditMiddleware
from api.documents import document_problems
from api.errors import add_error_handlers
from api.middleware import RequestMiddleware
from api.plots import Plots
from api.rate_limits import RateLimits
from api.routes import (
    analyses,
    artifacts,
    audit,
    catalogue,
    features,
    health,
    jobs,
    optima,
    pages,
    phase_diagram,
    plots,
    report_page,
    runs,
)
from api.services import Services
from api.standings import Standings, of_broker, of_database, of_disk
from api.telemetry import Telemetry
from api.vega import VegaScript
from api.watch import JobWatcher
from jobs.artifacts import Artifacts
from jobs.blobs import Blobs
from jobs.exposition import Exposition
from jobs.feature_sets import FeatureSets
from jobs.files import open_file_store
from jobs.logs import configure_logs
from jobs.queue import Queue, create_celery
from jobs.settings import Settings
from jobs.store import (
    AuditStore,
    BlobStore,
    CensusStore,
    Database,
    FeaturesStore,
    JobStore,
    KeyStore,
    QuotaStore,
    RepairStore,
    WorkerStore,
)
from jobs.tracing import configure_tracing


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, on the given settings or those of the environment. Connects to nothing yet."""
    settings = settings or Settings()
    configure_logs(settings)
    configure_tracing(settings, service="collapse-api")
    services = create_services(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await services.watcher.close()
        services.queue.close()
        services.rate_limits.close()
        services.database.close()

    app = FastAPI(
        title="Collapse analysis service",
        version=services.version,
        description="Measures, layer by layer, how the features of a classifier collapse and lose rank.",
        lifespan=lifespan,
        docs_url=None,  # our own page, which loads nothing from elsewhere
        redoc_url=None,
        telemetry={
            "tracing": settings.otlp_endpoint is not None,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": is_asked_by_machines,
        },
    )
    app.state.services = services
    add_error_handlers(app)
    document_problems(app)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(caller)])
    for module in (features, analyses, jobs, artifacts, plots, report_page, runs, catalogue, phase_diagram, optima):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(audit.router, prefix="/v1")
    app.include_router(health.router)
    app.include_router(pages.router)
    app.add_middleware(AuditMiddleware, audit=services.audit)
    app.add_middleware(RequestMiddleware, telemetry=services.telemetry)
    return app


def is_asked_by_machines(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request comes every few seconds, from what watches the service: nobody wants its trace."""
    return scope["path"] in {"/healthz", "/readyz", "/metrics"}


def create_services(settings: Settings) -> Services:
    """Every part, once."""
    database = Database(settings.database)
    queue = Queue(create_celery(settings.broker_url))
    repair = RepairStore(database)
    jobs_store = JobStore(database)
    blobs = Blobs(open_file_store(settings), BlobStore(database))
    return Services(
        settings=settings,
        database=database,
        jobs=jobs_store,
        keys=KeyStore(database),
        quotas=QuotaStore(database),
        audit=AuditStore(database),
        repair=repair,
        workers=WorkerStore(database),
        feature_sets=FeatureSets(settings, FeaturesStore(database), blobs),
        artifacts=Artifacts(jobs_store, blobs),
        queue=queue,
        rate_limits=RateLimits(settings.broker_url),
        watcher=JobWatcher(jobs_store),
        telemetry=create_telemetry(settings, database, queue),
        plots=Plots(),
        vega=VegaScript(settings.data_dir / "pages"),
        version=version("collapse-service"),
    )


def create_telemetry(settings: Settings, database: Database, queue: Queue) -> Telemetry:
    """What `/metrics` tells: of this process or all of its host, and how the parts stand."""
    exposition = Exposition(settings.metrics_dir)
    exposition.count_connections(database)
    standings = Standings(
        {
            "database": of_database(CensusStore(database), WorkerStore(database)),
            "broker": of_broker(queue),
            "disk": of_disk(settings.data_dir),
        }
    )
    return Telemetry(exposition, standings)
