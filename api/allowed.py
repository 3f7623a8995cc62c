"""Which methods an address takes. The framework knows only those of the first route that has the address."""

import re
from functools import cache

from fastapi import FastAPI
from starlette.routing import compile_path


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """All methods of an address, as the OpenAPI document has them; none if it is not in there."""
    return sorted(
        {
            method.upper()
            for template, operations in app.openapi()["paths"].items()
            if _pattern(template).match(path)
            for method in operations
        }
    )


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return compile_path(template)[0]
