"""Ids in paths: what cannot be an id of ours is unknown, and never reaches the database."""

import re
from typing import Annotated

from fastapi import Depends, Path

from jobs.store.jobs import features_not_found, job_not_found

PLAUSIBLE = re.compile(r"[A-Za-z0-9_]{1,64}")


def known_job_id(job_id: Annotated[str, Path(description="id of a job")]) -> str:
    """Refuse what is no id: PostgreSQL takes no NUL, and errors should not depend on the database."""
    if not PLAUSIBLE.fullmatch(job_id):
        raise job_not_found(job_id)
    return job_id


def known_features_id(features_id: Annotated[str, Path(description="id of a feature set")]) -> str:
    """Refuse what is no id, as for jobs."""
    if not PLAUSIBLE.fullmatch(features_id):
        raise features_not_found(features_id)
    return features_id


JobId = Annotated[str, Depends(known_job_id)]
FeaturesId = Annotated[str, Depends(known_features_id)]
