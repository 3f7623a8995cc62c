"""Every SQL statement of the service, one file per noun."""

from jobs.store.blobs import BlobStore
from jobs.store.database import Clock, Database, utc_now
from jobs.store.features import Contents, FeaturesStore, StoredFile
from jobs.store.jobs import JobStore
from jobs.store.records import ArtifactFile, Filter, MeasurementRow, NewJob, Standing
from jobs.store.repair import Expired, RepairStore

__all__ = [
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
    "Standing",
    "StoredFile",
    "utc_now",
]
