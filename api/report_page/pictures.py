"""The figures as the page has them: each once, in the colours of the ground that the reader has chosen."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markupsafe import Markup

IDS: Final = re.compile(r'(?<=["#])(clip|gradient_)(\d+)(?=[")])')
"""What Vega calls the parts that a picture refers to: the same in every picture."""
COLOURS: Final = re.compile(r'(?<=")(?:#[0-9a-fA-F]{6}|rgba?\([^")]*\))(?=")')
WIDTH: Final = re.compile(r'(?<= width=")[0-9.]+(?=")')


@dataclass(frozen=True)
class Figure:
    """A figure as it is drawn (SVG): on a light ground and on a dark one, which differ in colours alone."""

    title: str
    light: str
    dark: str


@dataclass(frozen=True)
class Picture:
    """What stands on the page; width: in pixels, at which its letters are as large as those of a table."""

    title: str
    width: str
    svg: "Markup"


@dataclass(frozen=True)
class Pictures:
    """All of them, and the colours that the style sheet gives them by number: on a light ground and on a dark one."""

    shown: Sequence[Picture]
    colours: Sequence[tuple[str, str]]


def pictures(figures: Sequence[Figure]) -> Pictures:
    """The pictures of a page."""
    from markupsafe import Markup

    numbers: dict[tuple[str, str], int] = {}
    shown = [
        Picture(figure.title, WIDTH.findall(figure.light)[0], Markup(_own_ids(_coloured(figure, numbers), index)))
        for index, figure in enumerate(figures)
    ]
    return Pictures(shown, list(numbers))


def _own_ids(svg: str, index: int) -> str:
    return IDS.sub(rf"figure{index}-\1\2", svg)


def _coloured(figure: Figure, numbers: dict[tuple[str, str], int]) -> str:
    """The picture, with variables for colours that are others on a dark ground; they get the next numbers."""
    pairs = zip(COLOURS.findall(figure.light), COLOURS.findall(figure.dark), strict=True)

    def colour(found: re.Match[str]) -> str:
        pair = next(pairs)
        return found[0] if pair[0] == pair[1] else f"var(--colour-{numbers.setdefault(pair, len(numbers))})"

    return COLOURS.sub(colour, figure.light)
