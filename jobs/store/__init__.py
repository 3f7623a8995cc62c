"""Every SQL statement of the service, one file per noun."""

from jobs.store.audit import AuditFilter, AuditStore
from jobs.store.blobs import BlobStore
from jobs.store.census import CensusStore
from jobs.store.checkup import CheckupStore, Reference, WrongCount
from jobs.store.database import Clock, Database, utc_now
from jobs.store.features import Contents, FeaturesStore, StoredFile
from jobs.store.jobs import JobStore
from jobs.store.keys import KeyStore
from jobs.store.quotas import QuotaStore
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
    "AuditFilter",
    "AuditStore",
    "BlobStore",
    "CensusStore",
    "CheckupStore",
    "Clock",
    "Contents",
    "Database",
    "Expired",
    "FeaturesStore",
    "Filter",
    "JobStore",
    "KeyStore",
    "MeasurementRow",
    "NewJob",
    "QuotaStore",
    "Reference",
    "RepairStore",
    "RunContents",
    "RunRow",
    "RunStore",
    "SeriesRow",
    "Standing",
    "StoredFile",
    "WorkerStore",
    "WrongCount",
    "utc_now",
]
