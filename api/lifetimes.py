"""How long things are kept: as a request asks, or as the settings say."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

LONGEST_LIFETIME_SECONDS = 10 * 365 * 86400

Lifetime = Annotated[int, Field(ge=1, le=LONGEST_LIFETIME_SECONDS)]
"""In whole seconds."""
FeaturesLifetime = Annotated[
    Lifetime | None,
    Query(
        description="seconds from now after which the feature set is deleted, unless a job still needs it; an open set "
        "is, unless it is completed by then. Without it, as the service is set. The same file again prolongs the life "
        "of its set and never shortens it."
    ),
]
