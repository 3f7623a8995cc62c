"""The catalogue of optima: the best solutions known of deep unconstrained features models."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import TypeAdapter

from analysis.dufm import catalogue
from analysis.dufm.catalogue import CatalogueEntry
from api.answers import IfNoneMatch, has_already, not_modified
from api.documents import file_answer, responses
from api.errors import ApiError
from api.verdict import known_optimum
from api.views import OptimumView

router = APIRouter(prefix="/optima", tags=["catalogue"])

DEFAULT_DECAY = 0.004
CACHE_SECONDS = 3600
"""The catalogue changes with the version of the service only."""

Classes = Annotated[int, Path(ge=1, le=2**31, description="K")]
Depth = Annotated[int, Path(ge=1, le=2**31, description="L")]
Decay = Annotated[
    float, Query(gt=0, allow_inf_nan=False, description="λ̄ = (n λ_H1 Π λ_Wl)^(1/(L+1)), or all decays at n = 1")
]
_entries = TypeAdapter(list[CatalogueEntry])


@router.get("", response_model=list[CatalogueEntry], responses=responses() | {304: {"description": "Not changed"}})
def list_optima(
    num_classes: Annotated[int | None, Query(ge=1)] = None,
    depth: Annotated[int | None, Query(ge=1)] = None,
    decay: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """List the best known optimum of every K, L and decay: loss, ranks, structure, references."""
    found = [
        entry
        for entry in catalogue.entries()
        if num_classes in (None, entry.num_classes)
        and depth in (None, entry.depth)
        and (decay is None or catalogue.find(entry.num_classes, entry.depth, decay) == entry)
    ]
    return _answer(_entries.dump_json(found), if_none_match, media_type="application/json")


@router.get(
    "/{num_classes}/{depth}",
    response_model=OptimumView,
    responses=responses(404) | {304: {"description": "Not changed"}},
)
def get_optimum(
    num_classes: Classes, depth: Depth, decay: Decay = DEFAULT_DECAY, if_none_match: IfNoneMatch = None
) -> Response:
    """Get the best known optimum of one K, L and decay, and what there is to say of it."""
    entry = _known(num_classes, depth, decay)
    view = OptimumView(**dict(entry), sentences=known_optimum(entry.model_dump()))
    return _answer(view.model_dump_json().encode(), if_none_match, media_type="application/json")


@router.get(
    "/{num_classes}/{depth}/solution.safetensors",
    response_class=Response,
    responses=responses(404) | file_answer("application/octet-stream"),
)
def get_solution(
    num_classes: Classes, depth: Depth, decay: Decay = DEFAULT_DECAY, if_none_match: IfNoneMatch = None
) -> Response:
    """Get the matrices of that optimum, H_1 and W_1 … W_L, as a safetensors file."""
    entry = _known(num_classes, depth, decay)
    answer = _answer(catalogue.solution(entry), if_none_match, media_type="application/octet-stream")
    name = f"K{num_classes}-L{depth}-{entry.decay:g}.safetensors"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _known(num_classes: int, depth: int, decay: float) -> CatalogueEntry:
    entry = catalogue.find(num_classes, depth, decay)
    if entry is not None:
        return entry
    classes, depths, decays = catalogue.CLASSES, catalogue.DEPTHS, ", ".join(map(str, catalogue.DECAYS))
    raise ApiError(
        404,
        "optimum_not_found",
        f"The catalogue has no optimum for K = {num_classes}, L = {depth}, decay = {decay:g}. It has those for K from "
        f"{classes[0]} to {classes[-1]}, L from {depths[0]} to {depths[-1]}, decay {decays}. A job of kind "
        "find_dufm_optimum searches for others.",
    )


def _answer(content: bytes, if_none_match: str | None, *, media_type: str) -> Response:
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    answer = not_modified(etag) if has_already(if_none_match, etag) else Response(content, media_type=media_type)
    answer.headers["ETag"] = etag
    answer.headers["Cache-Control"] = f"private, max-age={CACHE_SECONDS}"
    return answer
