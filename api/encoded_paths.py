"""Names in addresses: a run may have slashes in its name, which come percent-encoded."""

import re
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from api.submission import LONGEST_RUN_NAME, PRINTABLE
from jobs.store.runs import run_not_found


class EncodedRoute(APIRoute):
    """A route that takes the address apart before decoding it, so that `%2F` belongs to a name and `/` does not."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the address as it was sent; the parameters are decoded."""
        encoded = scope.get("raw_path")
        if scope["type"] != "http" or encoded is None:
            return super().matches(scope)
        before = dict(scope.get("path_params", {}))
        match, found = super().matches({**scope, "path": encoded.decode("ascii", errors="replace")})
        if match != Match.NONE:
            decoded = {name: unquote(value) for name, value in found["path_params"].items() if name not in before}
            found["path_params"] = before | decoded
        return match, found


def known_run_name(run: Annotated[str, Path(description="name of a run, percent-encoded")]) -> str:
    """Refuse what no run can be called: it never reaches the database."""
    if len(run) > LONGEST_RUN_NAME or not re.fullmatch(PRINTABLE, run):
        raise run_not_found(run)
    return run


RunName = Annotated[str, Depends(known_run_name)]
