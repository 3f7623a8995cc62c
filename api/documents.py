"""What the routes add to the OpenAPI document: binary bodies, problem responses."""

from typing import Any

from api.errors import MEDIA_TYPE, Problem

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "A safetensors or npz file with labels, features.<layer>, weights.<layer>, biases.<layer>.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

DESCRIPTIONS = {
    304: "Not changed since the version in If-None-Match",
    400: "Unreadable request",
    401: "No or wrong key",
    404: "Unknown",
    408: "The body came too slowly",
    409: "Not in this state",
    413: "Body over the limit",
    415: "Neither safetensors nor npz",
    422: "Readable, but wrong",
    503: "Broker or database away",
    507: "Disk full",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route can answer with, besides those that every route can."""
    problem = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {
        status: {"model": Problem, "description": DESCRIPTIONS[status], "content": problem}
        for status in {*statuses, 401, 422, 503}
    }
