"""What all figures have in common: sizes for print, and colours that can be told apart, also by the colour-blind."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import altair as alt
from altair.utils.schemapi import disable_debug_mode

# Checking every piece against Vega-Lite's schema is half of a figure's time. The tests check the whole of each.
disable_debug_mode()

# Okabe and Ito's palette, moved in lightness: each has a contrast of 3:1 and more with white and with the dark ground.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0A7CC0",
    "#B87A00",
    "#009E73",
    "#D55E00",
    "#C2659A",
    "#2A9FC9",
    "#767676",
)
PALETTE: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
# Names of ranges that the configuration gives colours to: a figure is the same on both grounds but for that.
ORDERED: Final = "ordinal"
"""Of lines or points in an order, which have a name each."""
GRADIENT: Final = "ramp"
"""The same order, where they are too many to name."""
SEQUENTIAL: Final = "heatmap"
DIVERGING: Final = "diverging"
ON_LIGHT: Final = ("#35004a", "#3b528b", "#21808c", "#2f9a50", "#a08a00")
ON_DARK: Final = ("#8878e0", "#4aa3df", "#35b99c", "#8fd744", "#fde725")
"""Viridis without what is too near to the ground: dark, or light, comes first in the order."""
FONT: Final = "DejaVu Sans, Arial, sans-serif"
"""With σ, λ and ‖ in it."""
TITLE_LETTERS: Final = 64
LINES: Final[dict[str, Any]] = {"symbolType": "stroke", "symbolOpacity": 1, "symbolSize": 180}
"""Options of a legend that names lines; bands beside them are not shown in it."""


def finish(chart: alt.TopLevelMixin, *, title: str, dark: bool) -> dict[str, Any]:
    """The chart as a specification, with its title and the style."""
    chart.title = alt.TitleParams(text=wrap(title), anchor="start", offset=14)  # type: ignore[attr-defined]
    chart.config = alt.Config(**_config(dark=dark))  # type: ignore[attr-defined]
    # Altair would name each data set by its contents and put it apart: the same, in more words.
    with alt.data_transformers.enable(consolidate_datasets=False):
        return chart.to_dict(validate=False)


def wrap(title: str, letters: int = TITLE_LETTERS) -> list[str]:
    """A title in lines.

    >>> wrap("a title of some length", letters=12)
    ['a title of', 'some length']
    """
    return textwrap.wrap(title, letters) or [""]


def _config(*, dark: bool) -> dict[str, Any]:
    ground, ink, faint = ("#16181d", "#e8e8e8", "#3a3f4a") if dark else ("#ffffff", "#222222", "#e3e3e3")
    words = {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": ground,
        "font": FONT,
        "padding": 12,
        "title": {"color": ink, "fontSize": 14, "fontWeight": 600, "subtitleColor": ink, "subtitleFontSize": 11},
        "axis": {**words, "gridColor": faint, "domainColor": ink, "tickColor": ink, "labelLimit": 160},
        "header": {**words, "labelFontWeight": 600},
        "legend": {**words, "labelLimit": 220, "titleLimit": 260, "symbolStrokeWidth": 2.5},
        "view": {"stroke": faint},
        "rule": {"color": ink},
        "text": {"color": ink},
        "range": _ranges(dark=dark),
    }


def _ranges(*, dark: bool) -> dict[str, Any]:
    ordered = {"scheme": list(ON_DARK if dark else ON_LIGHT)}
    return {
        "category": list(PALETTE),
        ORDERED: ordered,
        GRADIENT: ordered,
        SEQUENTIAL: {"scheme": "viridis", "extent": [0.2, 1]},  # its first colours are as dark as a dark ground
        DIVERGING: {"scheme": "blueorange"},
    }
