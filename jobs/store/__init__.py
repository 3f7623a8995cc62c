"""Every SQL statement of the service, one file per noun."""

from jobs.store.database import Clock, Database, utc_now
from jobs.store.features import Contents, FeaturesStore, StoredFile
from jobs.store.jobs import Filter, JobStore, MeasurementRow, NewJob, Standing
from jobs.store.repair import Expired, RepairStore

__all__ = [
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
