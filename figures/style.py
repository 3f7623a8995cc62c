"""What all figures have in common: colours that colour-blind readers can tell apart, sizes for print, white ground."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import altair as alt

# Okabe and Ito's palette, without its yellow, which is too pale for lines on white.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#767676",
)
PALETTE: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
SEQUENTIAL: Final = "viridis"
DIVERGING: Final = "blueorange"
FONT: Final = "DejaVu Sans, Arial, sans-serif"
"""With σ, λ and ‖ in it."""
TITLE_LETTERS: Final = 64
LINES: Final[dict[str, Any]] = {"symbolType": "stroke", "symbolOpacity": 1, "symbolSize": 180}
"""Options of a legend that names lines; bands beside them are not shown in it."""


def finish(chart: alt.TopLevelMixin, *, title: str, dark: bool) -> dict[str, Any]:
    """The chart as a checked specification, with its title and the style."""
    chart.title = alt.TitleParams(text=wrap(title), anchor="start", offset=14)  # type: ignore[attr-defined]
    chart.config = alt.Config(**_config(dark=dark))  # type: ignore[attr-defined]
    # Altair would name each data set by its contents and put it apart: the same, in more words.
    with alt.data_transformers.enable(consolidate_datasets=False):
        return chart.to_dict()


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
        "range": {"category": list(PALETTE)},
    }
