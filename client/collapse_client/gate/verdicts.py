"""Judging conditions: they hold, they do not, or it cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Optional

from collapse_client.errors import Unanswerable
from collapse_client.gate.grammar import OPERATORS, QUANTIFIERS, Condition, Side, parse, written
from collapse_client.gate.run_values import Place, RunValues, Value

if TYPE_CHECKING:
    from collapse_client.client import Client

MOST_SHOWN = 3
WORDS = {True: "holds", False: "fails", None: "cannot be told"}


@dataclass(frozen=True)
class Case:
    """A condition at one step, of one layer (or pair of layers): what stood on its sides, and whether it held."""

    holds: bool
    left: Optional[Value]
    right: Optional[Value]

    def __str__(self) -> str:
        return ", against ".join(_told(value) for value in (self.left, self.right) if value is not None)


@dataclass(frozen=True)
class Verdict:
    """`holds` is None where it cannot be told, for the `reasons`; `cases` are those that decided."""

    condition: str
    holds: Optional[bool]
    cases: Sequence[Case] = ()
    reasons: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        told = list(self.reasons) if self.holds is None else [str(case) for case in self.cases]
        more = [f"and {len(told) - MOST_SHOWN} more"] if len(told) > MOST_SHOWN else []
        return f"{WORDS[self.holds]}: {self.condition}: {'; '.join([*told[:MOST_SHOWN], *more])}"


def check(
    client: Client, run: str, conditions: Sequence[str], *, step: int | None = None, since: int | None = None
) -> list[Verdict]:
    """Judge conditions on a run at its latest step; or at `step`; or at every step from `since` on.

    Raises BadCondition for what cannot be read, Unanswerable for what the run does not have.

        verdicts = check(client, "my-training", ["rank(last) >= 9", "nc1(all) < 0.1"])
        all(verdict.holds for verdict in verdicts)
    """
    parsed = [parse(text) for text in conditions]
    values = RunValues(client, run)
    values.load([measurement for condition in parsed for measurement in condition.measurements])
    places = values.to_judge(step=step, since=since)
    return [_over_steps(condition, values, places, span=since is not None) for condition in parsed]


def _over_steps(condition: Condition, values: RunValues, places: Sequence[Place], *, span: bool) -> Verdict:
    """Over several steps a condition holds where it holds at each; one clear no is a no."""
    if span and any(measurement.step == "previous_step" for measurement in condition.measurements):
        places = [place for place in places if place != values.places[0]]
    verdicts = [_at(condition, values, place) for place in places]
    for holds in (False, None):
        found = [verdict for verdict in verdicts if verdict.holds is holds]
        if found:
            return found[0]
    return verdicts[-1] if verdicts else Verdict(condition.text, None, reasons=("the run has one step only",))


def _at(condition: Condition, values: RunValues, place: Place) -> Verdict:
    """One case that holds is enough for `any`, one that does not for all else."""
    cases, reasons = [], []
    try:
        for left, right in _pairs(condition, values, place):
            try:
                cases.append(_case(condition, values, place, left, right))
            except Unanswerable as error:
                reasons.append(str(error))
    except Unanswerable as error:
        reasons.append(str(error))
    decisive = any(measurement.layer.word == "any" for measurement in condition.measurements)
    deciding = [case for case in cases if case.holds is decisive]
    if deciding:
        return Verdict(condition.text, decisive, deciding)
    return Verdict(condition.text, None, reasons=reasons) if reasons else Verdict(condition.text, not decisive, cases)


def _pairs(condition: Condition, values: RunValues, place: Place) -> list[tuple[Optional[str], Optional[str]]]:
    """The layers to compare: where both sides ask for all or any, each layer with itself."""
    left, right = (_layers(side, values, place) for side in (condition.left, condition.right))
    if len(condition.measurements) == 2 and all(of.layer.word in QUANTIFIERS for of in condition.measurements):
        return [(layer, layer) for layer in left]
    return [(one, other) for one in left for other in right]


def _layers(side: Side, values: RunValues, place: Place) -> Sequence[Optional[str]]:
    """The layers of one side; all and any range over those that the metric applies to."""
    if side.measurement is None:
        return [None]
    names = values.layers_of(side.measurement.layer)
    where, metric = values.place_of(side.measurement, place), side.measurement.metric
    # Where it is of no layer, the last stands for all, as the classifier's: looking it up tells why.
    return [name for name in names if values.applies(where, metric, name)] or names[-1:]


def _case(condition: Condition, values: RunValues, place: Place, left: Optional[str], right: Optional[str]) -> Case:
    one, other = _value(condition.left, values, place, left), _value(condition.right, values, place, right)
    numbers = [
        side.factor if value is None else side.factor * value.value
        for side, value in ((condition.left, one), (condition.right, other))
    ]
    return Case(OPERATORS[condition.operator](*numbers), one, other)


def _value(side: Side, values: RunValues, place: Place, layer: Optional[str]) -> Optional[Value]:
    if side.measurement is None or layer is None:
        return None
    return values.value(values.place_of(side.measurement, place), side.measurement.metric, layer)


def _told(value: Value) -> str:
    step = "" if value.step is None else f" at step {value.step}"
    return f"{value.value:.6g} in layer {written(value.layer)}{step} ({value.job_id})"
