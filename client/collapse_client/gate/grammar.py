r"""The language of a gate's conditions: text → Condition. Nothing is evaluated as code.

    condition    side (< | <= | > | >= | == | !=) side
    side         number | measurement | number * measurement
    measurement  metric ( layer [, first_step | previous_step] )
    layer        a name | "a name in quotes" | last | first | all | any | #index (from 0; #-1 is the last)

A bare name ends at a comma or at the parenthesis that closes the measurement; in quotes, single or double, `\"` and
`\\` stand for the quote and the backslash. A whole number without quotes or # is the name of a layer in runs whose
layers have numbers for names, as those of torch's Sequential, and an index in others.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any, Callable, Optional

from collapse_client.errors import BadCondition
from collapse_client.gate.aliases import metric_name
from collapse_client.progress import printable

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
WORDS = ("last", "first", "all", "any")
QUANTIFIERS = ("all", "any")
STEPS = ("first_step", "previous_step")

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"[<>]=?|[=!]=")
_INDEX = re.compile(r"#?[-+]?\d+")


@dataclass(frozen=True)
class Layer:
    """Which layer is meant: by its `name`, by a `word`, or by an `index` (`#2`); of a bare number, both of the last."""

    name: Optional[str] = None
    word: Optional[str] = None
    index: Optional[int] = None


@dataclass(frozen=True)
class Measurement:
    """A metric of a layer, now or at the step named."""

    metric: str
    layer: Layer
    step: Optional[str] = None


@dataclass(frozen=True)
class Side:
    """One side of a comparison: factor × measurement, or the factor alone."""

    factor: float
    measurement: Optional[Measurement] = None


@dataclass(frozen=True)
class Condition:
    """A comparison; `text` is how it was asked."""

    text: str
    left: Side
    operator: str
    right: Side

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Those that it compares: one or two."""
        return tuple(side.measurement for side in (self.left, self.right) if side.measurement is not None)


def written(name: str) -> str:
    r"""Return a layer's name as a condition has it: in quotes where it could be taken for something else.

    >>> print(written("head.2"), written("relu(H_2)"), written("last"), written('a, "b"'))
    head.2 relu(H_2) "last" "a, \"b\""
    """
    reader = _Reader(f"{name})")
    try:
        plain = reader.layer() == Layer(name=name) and reader.text[reader.position :] == ")"
    except BadCondition:
        plain = False
    return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(text: str) -> Condition:
    """Read a condition; raises BadCondition, which points at the place.

    >>> condition = parse("rank(last) >= 0.9 * rank(last, first_step)")
    >>> condition.operator, condition.right.factor, condition.right.measurement.step
    ('>=', 0.9, 'first_step')
    """
    reader = _Reader(text)
    left = reader.side()
    sign = reader.take(_OPERATOR) or reader.fail("a comparison is missing here: <, <=, >, >=, == or !=")
    right = reader.side()
    if not reader.at_end():
        reader.fail("the condition should end here; ask several as several arguments")
    condition = Condition(text, left, sign, right)
    if not condition.measurements:
        raise BadCondition(f"{text!r} compares numbers only: name a metric and a layer, such as rank(last) >= 9")
    words = {measurement.layer.word for measurement in condition.measurements} & set(QUANTIFIERS)
    if len(words) > 1:
        raise BadCondition(f"{text!r} asks for all and for any: use one of them on both sides, or two conditions")
    return condition


class _Reader:
    """A position in the text of a condition."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def fail(self, reason: str) -> Any:
        before, after = printable(self.text[: self.position]), printable(self.text[self.position :])
        raise BadCondition(f"{reason}\n  {before}{after}\n  {' ' * len(before)}^")

    def skip_space(self) -> None:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1

    def at_end(self) -> bool:
        self.skip_space()
        return self.position == len(self.text)

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """Return what comes next, if it is of this form, and go past it."""
        self.skip_space()
        found = pattern.match(self.text, self.position)
        if found is None:
            return None
        self.position = found.end()
        return found.group()

    def take_sign(self, sign: str) -> bool:
        return self.take(re.compile(re.escape(sign))) is not None

    def side(self) -> Side:
        number = self.take(_NUMBER)
        if number is not None and not self.take_sign("*"):
            return Side(float(number))
        return Side(1.0 if number is None else float(number), self.measurement())

    def measurement(self) -> Measurement:
        metric = self.take(_METRIC) or self.fail("a number or a metric with its layer is missing here: rank(last)")
        if not self.take_sign("("):
            self.fail(f"the layer is missing here: {metric}(last), or {metric}(all)")
        layer, step = self.layer(), None
        if self.take_sign(","):
            step = self.take(_METRIC)
            if step not in STEPS:
                self.fail(f"after the layer comes {' or '.join(STEPS)}; a layer's name with a comma needs quotes")
        if not self.take_sign(")"):
            self.fail("a closing parenthesis is missing here")
        return Measurement(metric_name(metric), layer, step)

    def layer(self) -> Layer:
        self.skip_space()
        if self.text[self.position : self.position + 1] in ('"', "'"):
            return Layer(name=self.quoted())
        name = self.bare()
        if name in WORDS:
            return Layer(word=name)
        if _INDEX.fullmatch(name):
            return Layer(name=None if name.startswith("#") else name, index=int(name.lstrip("#")))
        return Layer(name=name)

    def bare(self) -> str:
        """Read up to the comma or the parenthesis that ends the name, which may have parentheses: relu(H_2)."""
        start, open_parentheses = self.position, 0
        while self.position < len(self.text):
            letter = self.text[self.position]
            if not open_parentheses and letter in ",)":
                break
            open_parentheses += {"(": 1, ")": -1}.get(letter, 0)
            self.position += 1
        name = self.text[start : self.position].strip()
        return name or self.fail("the layer is missing here: a name, last, first, all, any, #index")

    def quoted(self) -> str:
        start, quote = self.position, self.text[self.position]
        self.position += 1
        letters = []
        while self.position < len(self.text) and (letter := self.text[self.position]) != quote:
            if letter == "\\":
                self.position += 1
                letter = self.text[self.position : self.position + 1]
            letters.append(letter)
            self.position += 1
        if self.position >= len(self.text):
            self.position = start
            self.fail(f"the name that begins here has no closing {quote}")
        self.position += 1
        return "".join(letters)
