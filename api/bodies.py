"""Bounds on JSON bodies. The framework's own answers in plain text; every error of ours is a problem."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message

LARGEST_JSON_BYTES = 2**20
JSON_SECONDS = 15.0


class BoundedRoute(APIRoute):
    """A route that reads its whole body into memory, and therefore only a small one that comes quickly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Count what the framework's handler reads, and how long it takes."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            left, whole = LARGEST_JSON_BYTES, request.method == "GET"
            latest = asyncio.get_running_loop().time() + JSON_SECONDS

            async def receive() -> Message:
                nonlocal left, whole
                if whole:  # what comes now is the end of the connection, some time
                    return await request.receive()
                try:
                    async with asyncio.timeout_at(latest):
                        message = await request.receive()
                except TimeoutError:
                    raise HTTPException(408, headers={"Connection": "close"}) from None
                left -= len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if left < 0:
                    raise HTTPException(413)
                return message

            return await handle(Request(request.scope, receive))

        return bounded
