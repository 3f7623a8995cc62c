"""Every SQL statement of the service, one file per noun."""

from jobs.store.blobs import BlobStore
from jobs.store.database import Clock, Database, utc_now
from jobs.store.features import Contents, FeaturesStore, StoredFile
from jobs.store.jobs import JobStore
from jobs.store.records import (
    Analysis,
    ArtifactFile,
    Filter,
    MeasurementRow,
    NewJob,
    RunContents,
    RunRow,
    SeriesRow,
    Standing,
)
from jobs.store.repair import Expired, RepairStore
from jobs.store.runs import RunStore
from jobs.store.workers import WorkerStore

__all__ = [
    "Analysis",
    "ArtifactFile",
    "BlobStore",
    "Clock",
    "Contents",
    "Database",
    "Expired",
    "FeaturesStore",
    "Filter",
    "JobStore",
    "MeasurementRow",
    "NewJob",
    "RepairStore",
    "RunContents",
    "RunRow",
    "RunStore",
    "SeriesRow",
    "Standing",
    "StoredFile",
    "WorkerStore",
    "utc_now",
]
