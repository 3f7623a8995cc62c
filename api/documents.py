"""What the routes add to the OpenAPI document: binary bodies, problem responses."""

from typing import Any

from fastapi import FastAPI

from api.errors import MEDIA_TYPE, Problem

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "A safetensors or npz file with labels (N,) and features.<layer> (N, …); optionally split (N,), "
        "weights.<layer> (outputs, d), biases.<layer> (outputs,), ood.<layer> (M, …). Or with moments in place of "
        "samples: classes (K,), counts (K,), means.<layer> (K, d), scatter.<layer> (K,), Σ ‖h − μ_c‖² of each "
        "class; optionally shift.<layer> (K, d), which the means are relative to, scatter_matrix.<layer> (d, d), "
        "S = Σ (h − μ_y)(h − μ_y)ᵀ, projected_scatter.<layer> (K, K), M̄SM̄ᵀ of the centred class means M̄.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

BINARY = {"type": "string", "format": "binary"}


def file_answer(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """A file as the answer, or that the client has it already."""
    content = {media_type: {"schema": BINARY} for media_type in media_types}
    return {200: {"content": content}, 304: {"description": DESCRIPTIONS[304]}}


PROBLEM_SCHEMA = {"$ref": f"#/components/schemas/{Problem.__name__}"}
DESCRIPTIONS = {
    304: "Not changed since the version in If-None-Match",
    400: "Unreadable request",
    401: "No or wrong key",
    403: "The key lacks a scope",
    404: "Unknown, or somebody else's",
    408: "The body came too slowly",
    409: "Not in this state",
    413: "Body over the limit",
    415: "Neither safetensors nor npz",
    422: "Readable, but wrong",
    429: "Too many requests (`rate_limited`), or more than the owner may have (`quota_exceeded`); see Retry-After",
    503: "Broker, database or store of files away",
    507: "Disk full",
}


_SECONDS = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
HEADERS: dict[int, dict[str, Any]] = {
    401: {"headers": {"WWW-Authenticate": {"schema": {"type": "string"}}}},
    429: {"headers": {"Retry-After": _SECONDS}},
    503: {"headers": {"Retry-After": _SECONDS}},
}
ALWAYS = frozenset({401, 403, 422, 429, 503})


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route can answer with, besides those that every route can."""
    described = {status: {"model": Problem, "description": DESCRIPTIONS[status]} for status in ALWAYS.union(statuses)}
    return {status: {**answer, **HEADERS.get(status, {})} for status, answer in described.items()}


def document_problems(app: FastAPI) -> None:
    """Give the problems their media type in the OpenAPI document: the framework writes that of the route."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        for operations in document["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    if any(body.get("schema") == PROBLEM_SCHEMA for body in answer.get("content", {}).values()):
                        answer["content"] = {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
