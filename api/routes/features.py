"""Feature sets over HTTP. The routes that receive a body are the only ones that stream."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.access import CallerDependency
from api.documents import FILE_BODY, responses
from api.ids import FeaturesId, OwnFeatures
from api.lifetimes import FeaturesLifetime
from api.services import ServicesDependency
from api.uploads import received
from api.views import FeaturesView

router = APIRouter(prefix="/features", tags=["features"])
LONGEST_NAMES = 16 * 1024
"""Characters: an address and its headers have 64 KiB together, of which a character may take three bytes or more."""

LayerOrder = Annotated[
    str | None, Query(max_length=LONGEST_NAMES, description="names of the layers, separated by commas, in order")
]
PartIndex = Annotated[int, Path(ge=0, le=9999)]


@router.post(
    "",
    status_code=201,
    response_model=FeaturesView,
    openapi_extra=FILE_BODY,
    responses=responses(400, 408, 413, 415, 422, 507)
    | {200: {"model": FeaturesView, "description": "The same file came before"}},
)
async def upload_features(
    request: Request,
    response: Response,
    services: ServicesDependency,
    caller: CallerDependency,
    layers: LayerOrder = None,
    parts: Annotated[Literal["open"] | None, Query(description="open an empty set, to be filled part by part")] = None,
    expires_in_seconds: FeaturesLifetime = None,
) -> FeaturesView:
    """Upload one safetensors or npz file, or open a set that is filled part by part."""
    order = names(layers)
    if parts:
        created = True
        row = await run_in_threadpool(
            services.feature_sets.open_set,
            layer_order=order,
            owner=caller.owner,
            retention_seconds=expires_in_seconds,
        )
    else:
        async with received(request, services, caller.owner) as staged:
            row, created = await run_in_threadpool(
                services.feature_sets.add_whole,
                staged,
                layer_order=order,
                owner=caller.owner,
                retention_seconds=expires_in_seconds,
            )
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/features/{row.id}"
    return FeaturesView.of(row)


@router.put(
    "/{features_id}/parts/{index}",
    status_code=204,
    openapi_extra=FILE_BODY,
    responses=responses(400, 404, 408, 409, 413, 415, 422, 507),
)
async def upload_part(request: Request, services: ServicesDependency, features: OwnFeatures, index: PartIndex) -> None:
    """Upload one part: the same tensors, other samples. The same bytes again are harmless.

    With `Content-Digest: sha-256=:…:` (RFC 9530) a body that was changed on its way is refused, `digest_mismatch`.
    """
    async with received(request, services, features.owner) as staged:
        await run_in_threadpool(services.feature_sets.add_part, features.id, index, staged)


@router.post("/{features_id}/complete", response_model=FeaturesView, responses=responses(404, 409, 422))
def complete_features(
    services: ServicesDependency, features_id: FeaturesId, expires_in_seconds: FeaturesLifetime = None
) -> FeaturesView:
    """Close an open set: its parts must be 0 … n−1."""
    return FeaturesView.of(services.feature_sets.complete(features_id, retention_seconds=expires_in_seconds))


@router.get("/{features_id}", response_model=FeaturesView, responses=responses(404))
def get_features(features: OwnFeatures) -> FeaturesView:
    """What a feature set holds."""
    return FeaturesView.of(features)


@router.delete("/{features_id}", status_code=204, responses=responses(404, 409))
def delete_features(services: ServicesDependency, features_id: FeaturesId) -> None:
    """Remove a feature set and its files."""
    services.feature_sets.delete(features_id)


def names(listed: str | None) -> list[str] | None:
    """A comma-separated query parameter as a list."""
    return listed.split(",") if listed is not None else None
