"""A specification as a picture: vl-convert has Vega and a JavaScript engine in it; no browser, no network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import vl_convert

VERSION: Final = "6.4"
"""Of Vega-Lite; altair's."""
NUMBERED: Final = re.compile(r"(?<=[\"#])(clip|gradient_)\d+(?=[\")])")
SCALE: Final = 2.0
"""Pixels of a PNG for each unit of the figure."""


def svg(specification: Mapping[str, Any]) -> bytes:
    """The figure, to be scaled; the same bytes for the same specification."""
    drawn = vl_convert.vegalite_to_svg(dict(specification), vl_version=VERSION, allowed_base_urls=[])
    # Vega numbers clip paths and gradients on and on while the process lives.
    numbers: dict[str, int] = {}
    return NUMBERED.sub(lambda found: f"{found[1]}{numbers.setdefault(found[0], len(numbers))}", drawn).encode()


def png(specification: Mapping[str, Any]) -> bytes:
    """The figure, in pixels."""
    return vl_convert.vegalite_to_png(dict(specification), vl_version=VERSION, scale=SCALE, allowed_base_urls=[])
