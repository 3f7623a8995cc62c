"""A bound on JSON bodies. The framework's own answers in plain text; every error of ours is a problem."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message

LARGEST_JSON_BYTES = 2**20


class BoundedRoute(APIRoute):
    """A route that reads its whole body into memory, and therefore only a small one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Count what the framework's handler reads."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            left = LARGEST_JSON_BYTES

            async def receive() -> Message:
                nonlocal left
                message = await request.receive()
                left -= len(message.get("body", b""))
                if left < 0:
                    raise HTTPException(413)
                return message

            return await handle(Request(request.scope, receive))

        return bounded
