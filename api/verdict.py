"""What a report says, in words: for everybody who shows one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from api.wording import STRUCTURES, counted, listed, number, plain, share, words

Report = Mapping[str, Any]
MOST_DROPS: Final = 4
EQUAL: Final = 1e-6
"""Losses that differ by less, relative, are told as equal."""


def verdict(report: Report) -> list[str]:
    """Sentences, the most important first; each follows from numbers of the report."""
    parts = {"reproduction": _reproduction, "optimum": _optimum, "training": _training, "sweep": _sweep}
    found = [sentence for name, say in parts.items() if report.get(name) for sentence in say(report[name])]
    if report.get("summary"):
        found += _summary(report)
    return found or ["The report has no summary."]


def _summary(report: Report) -> Iterator[str]:
    layers = report["summary"]["layers"]
    if not layers:
        return
    yield from _collapsed(layers)
    yield from _structures(report["layers"])
    yield from _ranks(report["summary"], report["num_classes"])
    since = report["summary"].get("since_previous_step")
    if since:
        yield _since(since)


def _collapsed(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    known = [layer for layer in layers if layer["collapsed"] is not None]
    if not known:
        yield "Whether the layers have collapsed is not known: no metric that decides it was measured."
        return
    collapsed = [layer["name"] for layer in known if layer["collapsed"]]
    yield _how_many(known, collapsed)
    if not collapsed:
        yield _lacking(known[-1])
    if len(known) < len(layers):
        others = counted(len(layers) - len(known), "other layer")
        yield f"Whether {others} collapsed is not known: no metric that decides it was measured there."


def _how_many(known: Sequence[Mapping[str, Any]], collapsed: Sequence[str]) -> str:
    if len(known) == 1:
        return f"The layer {known[0]['name']} has {'' if collapsed else 'not '}collapsed."
    if not collapsed:
        return f"None of the {len(known)} layers has collapsed."
    if len(collapsed) == len(known):
        return f"All {len(known)} layers have collapsed."
    have = "has" if len(collapsed) == 1 else "have"
    return f"{len(collapsed)} of {len(known)} layers {have} collapsed: {listed(collapsed)}."


def _lacking(layer: Mapping[str, Any]) -> str:
    """What keeps a layer from collapse."""
    lacking = [
        f"{words(metric)} {number(found['value'])} (collapsed: {_limit(**found)})"
        for metric, found in layer["deciding"].items()
        if not found["reached"]
    ]
    return f"The layer {layer['name']} has {listed(lacking)}."


def _limit(*, value: float, threshold: float, reached: bool) -> str:
    """Of a metric that does not reach it: where it is smaller, it is to be greater."""
    return f"{'at most' if (value > threshold) is not reached else 'at least'} {number(threshold)}"


def _structures(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    by_form: dict[str | None, list[str]] = {}
    for layer in layers:
        structure = layer.get("structure")
        if structure:
            form = structure["name"] if structure["kind"] != "none" else None
            by_form.setdefault(form, []).append(layer["name"])
    formless = by_form.pop(None, [])
    if by_form:
        told = [f"the form of {_article(form)} {form} in {listed(names)}" for form, names in by_form.items() if form]
        told += [f"no symmetric form in {listed(formless)}"] if formless else []
        yield f"The class means take {'; '.join(told)}."
    elif formless:
        ideals = "simplex, orthogonal frame, strongly regular graph"
        yield f"In no layer do the class means take one of the symmetric forms ({ideals})."


def _article(noun: str) -> str:
    return "an" if noun[0].lower() in "aeio" else "a"


def _ranks(summary: Mapping[str, Any], num_classes: int) -> Iterator[str]:
    known = [layer for layer in summary["layers"] if layer["rank"] is not None]
    if not known:
        return
    last = known[-1]
    where = "the last layer, " if last is summary["layers"][-1] else ""
    graph = f", the strongly regular graph {number(last['srg_rank'])}" if _is_whole(last["srg_rank"]) else ""
    yield (
        f"In {where}{last['name']}, the class means of the {num_classes} classes have rank {last['rank']} "
        f"({last['rank_is']}); deep neural collapse has {last['dnc_rank']}{graph}."
    )
    if len(known) > 1:
        yield _along_depth(known, summary["rank_drops"])


def _is_whole(srg_rank: float) -> bool:
    """Whether there is such a graph for this number of classes."""
    return float(srg_rank).is_integer()


def _along_depth(known: Sequence[Mapping[str, Any]], rank_drops: Sequence[Mapping[str, Any]]) -> str:
    drops = [
        f"from {drop['rank_before']} in {drop['before']} to {drop['rank_after']} in {drop['after']}"
        for drop in rank_drops
    ]
    if drops:
        more = f", and {counted(len(drops) - MOST_DROPS, 'more time')}" if len(drops) > MOST_DROPS else ""
        return f"Along depth the rank drops {'; '.join(drops[:MOST_DROPS])}{more}."
    first, last = known[0]["rank"], known[-1]["rank"]
    if first == last:
        return "The rank is the same in every layer."
    return f"Along depth the rank goes from {first} to {last}, and nowhere down."


def _since(since: Mapping[str, Any]) -> str:
    """What was not measured at both steps has not changed."""
    layers = since["layers"]
    changes = [
        ("collapsed", [x["name"] for x in layers if x["collapsed_now"] and x["collapsed_before"] is False]),
        ("no longer collapsed", [x["name"] for x in layers if x["collapsed_before"] and x["collapsed_now"] is False]),
        ("another structure", [x["name"] for x in layers if _differ(x["structure_before"], x["structure_now"])]),
        ("another rank", [_rank_change(x) for x in layers if _differ(x["rank"]["before"], x["rank"]["now"])]),
    ]
    told = [f"{what}: {listed(names)}" for what, names in changes if names]
    return f"Since step {since['step']}: {'; '.join(told) or 'no layer has changed its verdict, structure or rank'}."


def _differ(before: Any, now: Any) -> bool:
    return before is not None and now is not None and before != now


def _rank_change(layer: Mapping[str, Any]) -> str:
    rank = layer["rank"]
    return f"{layer['name']} ({number(rank['before'])} → {number(rank['now'])})"


def _against_dnc(loss: float, references: Mapping[str, Any]) -> Iterator[str]:
    dnc = references.get("dnc")
    if dnc:
        yield f"That is {_where(loss / dnc)} the loss of deep neural collapse, {number(dnc)}."


def _where(ratio: float) -> str:
    if abs(ratio - 1) < EQUAL:
        return "equal to"
    if ratio >= 2:
        return f"{number(ratio)} times"
    return f"{share(abs(ratio - 1))} {'below' if ratio < 1 else 'above'}"


def _bound(references: Mapping[str, Any], gap: float | None = None) -> Iterator[str]:
    bound = references.get("lower_bound")
    if bound is not None:
        rest = "" if gap is None else f"; the gap is {number(gap)}"
        yield f"No solution can have a loss below {number(bound)}{rest}."


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    runs, references = training["runs"], training["references"]
    if training.get("best_run") is None:
        yield "The run diverged." if len(runs) == 1 else f"All {len(runs)} runs diverged."
    else:
        best = runs[training["best_run"]]
        which = "The run" if len(runs) == 1 else f"The best of {len(runs)} runs"
        yield f"{which} ends at loss {number(best['loss'])} (seed {best['seed']})."
        yield from _against_dnc(best["loss"], references)
        yield from _ends(runs, references)
        yield from _bound(references)
    for advice in training.get("advice", ()):
        yield f"{advice[0].upper()}{advice[1:]}."


def _ends(runs: Sequence[Mapping[str, Any]], references: Mapping[str, Any]) -> Iterator[str]:
    dnc = references.get("dnc")
    if dnc and len(runs) > 1:
        below = sum(
            run["structure"] is not None and run["loss"] is not None and run["loss"] < (1 - EQUAL) * dnc for run in runs
        )
        yield f"Below deep neural collapse: {below or 'none'} of {len(runs)} runs."
    ends = Counter(STRUCTURES.get(run["structure"], run["structure"]) for run in runs)
    told = ", ".join(name if len(runs) == 1 else f"{name} ({count})" for name, count in ends.most_common())
    yield f"Structure at the end: {told}."


def _optimum(optimum: Mapping[str, Any]) -> Iterator[str]:
    references = optimum["references"]
    structure = STRUCTURES.get(optimum["structure"], optimum["structure"])
    yield f"The best solution found has loss {number(optimum['loss'])}; its structure: {structure}."
    yield from _against_dnc(optimum["loss"], references)
    best_known = references["best_known"]
    if optimum["improves_best_known"]:
        yield f"It is better than the best one known before, of loss {number(best_known)}."
    elif best_known is not None:
        yield f"The best one known has loss {number(best_known)}."
    yield from _bound(references, optimum["gap"])
    if optimum["reached_by"] is not None:
        yield f"{share(optimum['reached_by'])} of {counted(optimum['restarts'], 'random restart')} end there."
    if not optimum["stationarity"]["stationary"]:
        yield "It is not stationary yet: a longer search can improve it."
    if optimum["stopped_by"] == "budget":
        yield "The search ended with its time: with a larger budget it may find more."


def known_optimum(entry: Mapping[str, Any]) -> list[str]:
    """The same of an entry of the catalogue of optima."""
    structure = STRUCTURES.get(entry["structure"], entry["structure"])
    return [
        f"The best solution known has loss {number(entry['loss'])}; its structure: {structure}.",
        *_against_dnc(entry["loss"], entry["references"]),
        f"Its last hidden layer has rank {entry['rank']} before the ReLU, of {entry['num_classes']} classes.",
        *_bound(entry["references"], entry["gap"]),
        "No small move improves it."
        if entry["stationarity"]["stationary"]
        else "A small move still improves it: it is no local minimum yet.",
    ]


def _sweep(sweep: Mapping[str, Any]) -> Iterator[str]:
    cells = sweep["cells"]
    ended = {state: sum(cell[state] for cell in cells) for state in ("succeeded", "failed", "cancelled")}
    told = ", ".join(f"{count} {state}" for state, count in ended.items() if count)
    jobs = counted(sum(ended.values()), "job")
    yield f"{counted(len(cells), 'cell')} of {listed(list(sweep['grid']))}, {jobs}: {told}."
    there = [cell for cell in cells if cell["loss"] is not None]
    if not there:
        yield "No cell of the grid has a loss."
        return
    best = min(there, key=lambda cell: cell["loss"])
    values = ", ".join(f"{name} = {plain(value)}" for name, value in best["values"].items())
    yield f"The least loss is {number(best['loss'])}, at {values}."
    compared = [cell["loss_over_dnc"] for cell in there if cell["loss_over_dnc"] is not None]
    if compared:
        below = sum(ratio < 1 - EQUAL for ratio in compared)
        yield f"Below deep neural collapse: the least loss of {below or 'none'} of {counted(len(compared), 'cell')}."


def _reproduction(reproduction: Mapping[str, Any]) -> Iterator[str]:
    statements = reproduction["statements"]
    yield f"{reproduction['figure']}, done again at scale {number(reproduction['scale'])}."
    for agrees, what in ((True, "agree with the paper"), (False, "do not"), (None, "cannot be told at this scale")):
        count = sum(statement["agrees"] is agrees for statement in statements)
        if count:
            yield f"{count} of {counted(len(statements), 'statement')} {what}."
