"""Axes: ranges that are known before drawing, so that labels can be placed beside what they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Any, Final

import altair as alt

from figures.style import GREY, wrap

MOST_DECADES: Final = 10
"""Of a logarithmic axis; what is smaller, and 0, is drawn at its foot."""
NARROW: Final = 4
"""Greatest over least value from which on a logarithmic axis differs from a linear one."""
ROUNDING: Final = 1e-6
"""Values that differ by less, relative, are drawn as equal: an axis in between would name one number many times."""
LABEL: Final = "datum.value && abs(datum.value) < 1e-3 ? format(datum.value, '.3~e') : format(datum.value, '.6~g')"
"""How a tick is written, as Vega's expression."""
MOST_NAMED_LAYERS: Final = 40
MOST_EACH: Final = 10
"""Whole numbers of an axis, each with its tick."""
LETTERS_ALONG: Final = 40
"""Of the narrowest axis of layers; where the longest name would take more, names stand aslant."""
LINE_HEIGHT: Final = 13
Row = dict[str, Any]
Layered = alt.LayerChart | alt.FacetChart
"""Altair's layers of facets are facets of layers."""


def table(rows: Sequence[Row]) -> alt.InlineData:
    """Rows as the data of a chart."""
    return alt.InlineData(values=list(rows))


@dataclass(frozen=True)
class Range:
    """The values that an axis shows."""

    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, values: Iterable[float | None], *, log: bool = False, zero: bool = False) -> Range:
        """All of these, with some room; linear where a logarithmic axis would show nothing else.

        zero: a linear axis begins, or ends, at 0.
        """
        there = [float(value) for value in values if value is not None and isfinite(value)]
        positive = [value for value in there if value > 0]
        if log and positive and max(positive) >= NARROW * min(positive):
            high = max(positive)
            low = max(min(positive), high * 10.0**-MOST_DECADES)
            room = max((high / low) ** 0.06, 1.15)
            return cls(low / room, high * room, log=True)
        low, high = min(there, default=0.0), max(there, default=1.0)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0) or float(low >= 0)
        room = 0.1 * abs(high) or 0.5 if are_equal(low, high) else 0.06 * (high - low)
        return cls(low if zero and low == 0 else low - room, high if zero and high == 0 else high + room, log=False)

    @property
    def scale(self) -> alt.Scale:
        """For Vega-Lite."""
        if self.log:
            return alt.Scale(type="log", domain=[self.low, self.high], clamp=True, nice=False)
        return alt.Scale(domain=[self.low, self.high], nice=False, zero=False)

    @property
    def axis(self) -> alt.Axis:
        """For Vega-Lite, in numbers as people write them."""
        if not self.log:
            return alt.Axis(labelExpr=LABEL, tickCount=6)
        return alt.Axis(labelExpr=LABEL, values=self._ticks())

    def _ticks(self) -> list[float]:
        """Powers of ten, at most eight; where they are fewer than three, also some of their multiples."""
        first, last = floor(log10(self.low)), ceil(log10(self.high))
        decades = log10(self.high / self.low)
        factors = (1,) if decades >= 2.5 else (1, 2, 5) if decades >= 1.2 else (1, 2, 3, 5, 7)
        stride = max(1, round((last - first) / 7))
        ticks = (factor * 10.0**power for power in range(first, last + 1, stride) for factor in factors)
        return [tick for tick in ticks if self.low <= tick <= self.high]

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the foot, 1 at the head."""
        if self.log:
            return log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, share: float) -> float:
        """The value there."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)


def are_equal(low: float, high: float) -> bool:
    """Whether two ends of a range differ by rounding alone.

    >>> are_equal(0.5, 0.5 + 1e-13), are_equal(0.5, 0.51)
    (True, False)
    """
    return high - low <= ROUNDING * max(abs(low), abs(high))


def vertical(field: str, title: str, shown: Range, **options: Any) -> alt.Y:
    """A y axis of numbers."""
    return alt.Y(f"{field}:Q", title=wrap(title, 50), scale=shown.scale, axis=shown.axis, **options)


def whole_ticks(first: int, last: int) -> dict[str, Any]:
    """Options of an axis of whole numbers: each of a few, which Vega would put others between; else as many as fit.

    >>> whole_ticks(1, 3), whole_ticks(0, 100)
    ({'values': [1, 2, 3]}, {'tickCount': 6})
    """
    return {"values": list(range(first, last + 1))} if last - first <= MOST_EACH else {"tickCount": 6}


def layer_axis(labels: Sequence[str], *, width: int) -> alt.X:
    """An x axis of layers, from the columns `layer` and `position`; by number where there are too many to name."""
    if len(labels) > min(MOST_NAMED_LAYERS, width // LINE_HEIGHT):
        return alt.X("position:Q", title="layer, by position", axis=alt.Axis(format="d"), scale=alt.Scale(zero=False))
    angle = 0 if len(labels) * max(map(len, labels)) <= LETTERS_ALONG else -40
    scale = alt.Scale(domain=list(labels), padding=0.5)
    return alt.X("layer:N", title="layer", axis=alt.Axis(labelAngle=angle), scale=scale)


def layer_width(count: int) -> int:
    """Of a figure with so many layers along x."""
    return min(720, max(260, 44 * count)) if count <= MOST_NAMED_LAYERS else 720


def line_labels(lines: Mapping[str, float], shown: Range, *, height: int) -> list[Row]:
    """Rows of lines to be named at the right: y, where the line is; label; label_y, where the label is.

    No label lies on another. Lines outside the range are left out.
    """
    inside = sorted(
        ((value, label) for label, value in lines.items() if shown.low <= value <= shown.high), key=lambda line: line[0]
    )
    shares = spread([shown.share(value) for value, _ in inside], distance=LINE_HEIGHT / height)
    return [
        {"y": value, "label": label, "label_y": shown.at(share)}
        for (value, label), share in zip(inside, shares, strict=True)
    ]


def spread(shares: Sequence[float], *, distance: float) -> list[float]:
    """Ascending positions moved as little as it takes to keep this distance, from the middle of those that are close.

    >>> [round(share, 2) for share in spread([0.5, 0.52, 0.9], distance=0.1)]
    [0.46, 0.56, 0.9]
    """
    groups: list[list[float]] = []
    for share in shares:
        groups.append([share])
        while len(groups) > 1 and _foot(groups[-1], distance) < _head(groups[-2], distance) + distance - 1e-12:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_foot(group, distance) + distance * index for group in groups for index in range(len(group))]


def _foot(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - distance * (len(group) - 1) / 2


def _head(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) + distance * (len(group) - 1) / 2


def labelled_lines(lines: Mapping[str, float], shown: Range, *, height: int, title: str) -> Layered:
    """Dashed lines across, each with its name at the right, beside the frame."""
    chart = alt.Chart(table(line_labels(lines, shown, height=height)))
    rules = chart.mark_rule(strokeDash=[5, 4], color=GREY).encode(y=vertical("y", title, shown))
    text = chart.mark_text(align="left", dx=5, fontSize=11, limit=260, clip=False).encode(
        y=vertical("label_y", title, shown), x=alt.value("width"), text="label:N"
    )
    return alt.layer(rules, text)
