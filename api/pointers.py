"""What pydantic found wrong, as JSON Pointers into the request and plain sentences."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic import BaseModel, Field

NO_LIST = frozenset({"tuple_type", "list_type"})
WRONG_TYPE = NO_LIST | {"float_type", "int_type", "none_required"}
NOWHERE = object()


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON Pointer into the body, or /query/…, /path/…, /header/…")
    detail: str


def field_errors(entries: Sequence[Any], *, body: Any = NOWHERE) -> list[FieldError]:
    """One error for each thing that is wrong; `body` is what the locations of the entries lead into."""
    found = [(_pointer(entry, body), entry) for entry in entries]
    return [
        FieldError(pointer=pointer, detail=_detail(entry))
        for pointer, group in groupby(found, key=lambda pair: pair[0])
        for entry in _without_other_forms([entry for _, entry in group], found, pointer)
    ]


def _pointer(entry: Any, body: Any) -> str:
    location = list(entry["loc"])
    if location and location[0] == "body":
        location = location[1:]
    elif location and location[0] in ("query", "path", "header"):
        body = NOWHERE
    parts = list(_fields(location, body, missing=entry["type"] == "missing"))
    if entry["type"].startswith("union_tag"):
        parts.append(entry["ctx"]["discriminator"].strip("'"))
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _fields(location: Sequence[str | int], body: Any, *, missing: bool) -> Iterator[str]:
    """The parts that lead into the body: a union puts the name of the member that it tried between them."""
    for index, part in enumerate(location):
        if body is NOWHERE or (missing and index == len(location) - 1):
            yield str(part)
        elif _has(body, part):
            body = body[part]
            yield str(part)


def _has(body: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(body, list) and part < len(body)
    return isinstance(body, dict) and part in body


def _without_other_forms(entries: list[Any], found: Sequence[tuple[str, Any]], pointer: str) -> list[Any]:
    """A value that may be a number or a list is wrong as one of them: that it is not the other says nothing."""
    deeper = any(other.startswith(f"{pointer}/") for other, _ in found)
    telling = [entry for entry in entries if entry["type"] not in WRONG_TYPE | ({"too_short"} if deeper else set())]
    return telling if telling or deeper else [entry for entry in entries if entry["type"] not in NO_LIST] or entries


def _detail(entry: Any) -> str:
    if entry["type"] == "union_tag_invalid":
        tag, known = entry["ctx"]["tag"], entry["ctx"]["expected_tags"]
        return f"there is no {json.dumps(tag[:64], ensure_ascii=False)}; there are: {known}"
    if entry["type"] == "union_tag_not_found":
        return "Field required"
    return str(entry["msg"]).removeprefix("Value error, ")
