"""The audit log's side of HTTP: every change that somebody made or was refused, before they are told."""

from typing import Any, Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Caller
from jobs.store import AuditStore

logger = structlog.get_logger()
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SERVER_ERROR: Final = 500


class AuditMiddleware:
    """Writes the entry between a change and its answer; what is answered is in the log.

    Left out is what changed nothing and told nothing: requests without a good key (nobody knows whose they were, and
    the log would be anybody's to fill), those over the rate, and those that the service itself failed on.
    """

    def __init__(self, app: ASGIApp, audit: AuditStore) -> None:
        self.app, self.audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_after_entry(message: Message) -> None:
            if message["type"] == "http.response.start":
                state = scope.get("state", {})
                headers = MutableHeaders(scope=message)
                headers |= state.get("answer_headers", {})
                if scope["method"] in CHANGING and "caller" in state and message["status"] < SERVER_ERROR:
                    await run_in_threadpool(self._write, entry(scope, state["caller"], message))
            await send(message)

        await self.app(scope, receive, send_after_entry)

    def _write(self, values: dict[str, Any]) -> None:
        try:
            self.audit.add(**values)
        except Exception:
            # The change is made, and its answer must not say otherwise.
            logger.exception("a change could not be written to the audit log", **values)


def entry(scope: Scope, caller: Caller, answer: Message) -> dict[str, Any]:
    """Who did what, to which object, with what outcome."""
    ids = scope.get("path_params", {})
    made = Headers(raw=answer["headers"]).get("location", "").rpartition("/")[2]
    return {
        "owner": caller.owner,
        "key_id": caller.key_id,
        "action": scope["route"].name,
        "object_id": ids.get("job_id") or ids.get("features_id") or made or None,
        "status": answer["status"],
        "request_id": scope["state"].get("request_id"),
    }
