"""The composition root of the API process: builds every part once and hangs the routes on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI

from api.documents import document_problems
from api.errors import add_error_handlers
from api.middleware import RequestMiddleware
from api.plots import Plots
from api.routes import (
    analyses,
    artifacts,
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
from api.services import Services, require_key
from api.telemetry import Telemetry
from api.vega import VegaScript
from api.watch import JobWatcher
from jobs.artifacts import Artifacts
from jobs.blobs import Blobs
from jobs.feature_sets import FeatureSets
from jobs.files import FileStore
from jobs.logs import configure_logs
from jobs.queue import Queue, create_celery
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore, JobStore, RepairStore, RunStore, WorkerStore


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, on the given settings or those of the environment. Connects to nothing yet."""
    configure_logs()
    services = create_services(settings or Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await services.watcher.close()
        services.queue.close()
        services.database.close()

    app = FastAPI(
        title="Collapse analysis service",
        version=services.version,
        description="Measures, layer by layer, how the features of a classifier collapse and lose rank.",
        lifespan=lifespan,
        docs_url=None,  # our own page, which loads nothing from elsewhere
        redoc_url=None,
    )
    app.state.services = services
    add_error_handlers(app)
    document_problems(app)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
    for module in (features, analyses, jobs, artifacts, plots, report_page, runs, catalogue, phase_diagram, optima):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.add_middleware(RequestMiddleware, telemetry=services.telemetry)
    return app


def create_services(settings: Settings) -> Services:
    """Every part, once."""
    database = Database(settings.database)
    repair = RepairStore(database)
    jobs_store = JobStore(database)
    blobs = Blobs(FileStore(settings.blob_folder), BlobStore(database))
    return Services(
        settings=settings,
        database=database,
        jobs=jobs_store,
        runs=RunStore(database),
        repair=repair,
        workers=WorkerStore(database),
        feature_sets=FeatureSets(settings, FeaturesStore(database), blobs),
        artifacts=Artifacts(jobs_store, blobs),
        queue=Queue(create_celery(settings.broker_url)),
        watcher=JobWatcher(jobs_store),
        telemetry=Telemetry(repair),
        plots=Plots(),
        vega=VegaScript(settings.data_dir / "pages"),
        version=version("collapse-service"),
    )
