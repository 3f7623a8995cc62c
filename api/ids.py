"""Ids in paths, and whose they are. What is somebody else's is unknown: the same words, the same one statement.

This is the one place where that is decided; routes get what their caller owns, and nothing else.
"""

import re
from typing import Annotated

from fastapi import Depends, Path

from api.access import CallerDependency
from api.services import Services, ServicesDependency
from jobs.store import RunStore
from jobs.store.jobs import features_not_found, job_not_found
from jobs.tables import Features, Job

PLAUSIBLE = re.compile(r"[A-Za-z0-9_]{1,64}")
"""What cannot be an id never reaches the database: PostgreSQL takes no NUL."""


def own_job(
    services: ServicesDependency, caller: CallerDependency, job_id: Annotated[str, Path(description="id of a job")]
) -> Job:
    """The caller's job of this id, as it stands."""
    if not PLAUSIBLE.fullmatch(job_id):
        raise job_not_found(job_id)
    return services.jobs.get(job_id, owner=caller.owner)


def own_features(
    services: ServicesDependency,
    caller: CallerDependency,
    features_id: Annotated[str, Path(description="id of a feature set")],
) -> Features:
    """The caller's feature set of this id."""
    return features_of(services, caller.owner, features_id)


def features_of(services: Services, owner: str, features_id: str) -> Features:
    """The feature set of this id, if it is this owner's: it may also be named in a body."""
    if not PLAUSIBLE.fullmatch(features_id):
        raise features_not_found(features_id)
    return services.feature_sets.store.get(features_id, owner=owner)


OwnJob = Annotated[Job, Depends(own_job)]
OwnFeatures = Annotated[Features, Depends(own_features)]


async def _id_of_job(job: OwnJob) -> str:
    return job.id


async def _id_of_features(features: OwnFeatures) -> str:
    return features.id


async def _own_runs(services: ServicesDependency, caller: CallerDependency) -> RunStore:
    return RunStore(services.database, owner=caller.owner)


JobId = Annotated[str, Depends(_id_of_job)]
FeaturesId = Annotated[str, Depends(_id_of_features)]
OwnRuns = Annotated[RunStore, Depends(_own_runs)]
