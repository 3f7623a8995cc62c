"""The files that jobs leave beside their reports."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from api.answers import IfNoneMatch, has_already, not_modified
from api.documents import file_answer, responses
from api.ids import JobId
from api.services import ServicesDependency
from api.views import ArtifactView
from jobs.artifacts import MEDIA_TYPES

router = APIRouter(prefix="/jobs/{job_id}/artifacts", tags=["jobs"])


@router.get("", response_model=list[ArtifactView], responses=responses(404, 409))
def list_artifacts(services: ServicesDependency, job_id: JobId) -> list[ArtifactView]:
    """List what an ended job left beside its report: solutions, trajectories, tables."""
    return [ArtifactView.of(artifact) for artifact in services.jobs.artifacts(job_id)]


@router.get(
    "/{name}",
    response_class=Response,
    responses=responses(404, 409) | file_answer(*sorted(set(MEDIA_TYPES.values()))),
)
def get_artifact(services: ServicesDependency, job_id: JobId, name: str, if_none_match: IfNoneMatch = None) -> Response:
    """Get one of these files; parts of it by a Range header."""
    artifact = services.artifacts.find(job_id, name)
    etag = f'"{artifact.sha256}"'
    if has_already(if_none_match, etag):
        return not_modified(etag)
    return LentFileResponse(
        services.artifacts.lend(artifact),
        media_type=artifact.media_type,
        filename=artifact.name,
        headers={"ETag": etag},
    )


class LentFileResponse(FileResponse):
    """A file that stays where it is until it is sent."""

    def __init__(self, lent: AbstractContextManager[Path], **answer: Any) -> None:
        self._lent = ExitStack()
        super().__init__(self._lent.enter_context(lent), **answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and give it back."""
        with self._lent:
            await super().__call__(scope, receive, send)
