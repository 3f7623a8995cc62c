"""What a report says, in words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.report_page.wording import STRUCTURES, counted, listed, number, plain, share

Report = Mapping[str, Any]
MOST_DROPS = 4


def verdict(report: Report) -> list[str]:
    """Sentences, the most important first; each follows from numbers of the report."""
    parts = {"reproduction": _reproduction, "optimum": _optimum, "training": _training, "sweep": _sweep}
    found = [sentence for name, say in parts.items() if report.get(name) for sentence in say(report[name])]
    if report.get("summary"):
        found += _summary(report)
    return found


def _summary(report: Report) -> Iterator[str]:
    layers = report["summary"]["layers"]
    if not layers:
        return
    yield _collapsed(layers)
    yield from _structures(report["layers"])
    yield from _ranks(report["summary"], report["num_classes"])
    since = report["summary"].get("since_previous_step")
    if since:
        yield _since(since)


def _collapsed(layers: Sequence[Mapping[str, Any]]) -> str:
    known = [layer for layer in layers if layer["collapsed"] is not None]
    collapsed = [layer["name"] for layer in known if layer["collapsed"]]
    if not known:
        return "Whether the layers have collapsed is not known: no metric that decides it was measured."
    if len(known) == 1:
        return f"The layer {known[0]['name']} has {'' if collapsed else 'not '}collapsed."
    if not collapsed:
        return f"None of the {len(known)} layers has collapsed."
    if len(collapsed) == len(known):
        return f"All {len(known)} layers have collapsed."
    return f"{len(collapsed)} of {len(known)} layers {_have(collapsed)} collapsed: {listed(collapsed)}."


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _structures(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    by_form: dict[str, list[str]] = {}
    for layer in layers:
        structure = layer.get("structure")
        if structure:
            form = structure["name"] if structure["kind"] != "none" else None
            by_form.setdefault(form or "no symmetric form", []).append(layer["name"])
    if by_form:
        told = "; ".join(f"{_article(form)} in {listed(names)}" for form, names in by_form.items())
        yield f"The class means take {told}."


def _article(form: str) -> str:
    if form.startswith("no "):
        return form
    return f"the form of {'an' if form[0].lower() in 'aeio' else 'a'} {form}"


def _ranks(summary: Mapping[str, Any], num_classes: int) -> Iterator[str]:
    last = summary["layers"][-1]
    if last["rank"] is not None:
        yield (
            f"In the last layer, {last['name']}, the class means of the {num_classes} classes have rank {last['rank']} "
            f"({last['rank_is']}); deep neural collapse has {last['dnc_rank']}"
            + (f", the strongly regular graph {number(last['srg_rank'])}." if _is_whole(last["srg_rank"]) else ".")
        )
    drops = [
        f"from {drop['rank_before']} in {drop['before']} to {drop['rank_after']} in {drop['after']}"
        for drop in summary["rank_drops"]
    ]
    if drops:
        more = f", and {len(drops) - MOST_DROPS} more times" if len(drops) > MOST_DROPS else ""
        yield f"Along depth the rank drops {'; '.join(drops[:MOST_DROPS])}{more}."


def _is_whole(srg_rank: float) -> bool:
    """Whether there is such a graph for this number of classes."""
    return float(srg_rank).is_integer()


def _since(since: Mapping[str, Any]) -> str:
    layers = since["layers"]
    changes = [
        ("collapsed", [x["name"] for x in layers if x["collapsed_now"] and x["collapsed_before"] is False]),
        ("no longer collapsed", [x["name"] for x in layers if x["collapsed_before"] and x["collapsed_now"] is False]),
        ("another structure", [x["name"] for x in layers if x["structure_before"] != x["structure_now"]]),
        ("another rank", [_rank_change(x) for x in layers if x["rank"]["before"] != x["rank"]["now"]]),
    ]
    told = [f"{what}: {listed(names)}" for what, names in changes if names]
    return f"Since step {since['step']}: {'; '.join(told) or 'no layer has changed its verdict, structure or rank'}."


def _rank_change(layer: Mapping[str, Any]) -> str:
    rank = layer["rank"]
    return f"{layer['name']} ({number(rank['before'])} → {number(rank['now'])})"


def _against_dnc(loss: float, references: Mapping[str, Any]) -> Iterator[str]:
    dnc, bound = references.get("dnc"), references.get("lower_bound")
    if dnc:
        difference = abs(loss - dnc) / dnc
        side = "below" if loss < dnc else "above"
        where = "equal to" if difference < 1e-6 else f"{share(difference)} {side}"
        yield f"That is {where} the loss of deep neural collapse, {number(dnc)}."
    if bound is not None:
        yield f"No solution can have a loss below {number(bound)}."


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    runs = training["runs"]
    best = None if training.get("best_run") is None else runs[training["best_run"]]
    if best is None:
        yield f"All of {counted(len(runs), 'run')} diverged."
    else:
        yield f"The best of {counted(len(runs), 'run')} ends at loss {number(best['loss'])} (seed {best['seed']})."
        yield from _against_dnc(best["loss"], training["references"])
    ends = Counter(STRUCTURES.get(run["structure"], run["structure"]) for run in runs)
    yield f"Structure of the runs' ends: {', '.join(f'{name} ({count})' for name, count in ends.most_common())}."
    for advice in training.get("advice", ()):
        yield f"{advice[0].upper()}{advice[1:]}."


def _optimum(optimum: Mapping[str, Any]) -> Iterator[str]:
    structure = STRUCTURES.get(optimum["structure"], optimum["structure"])
    yield f"The best solution found has loss {number(optimum['loss'])}; its structure: {structure}."
    yield from _against_dnc(optimum["loss"], optimum["references"])
    best_known = optimum["references"].get("best_known")
    if optimum["improves_best_known"]:
        yield f"It is better than the best one known before, of loss {number(best_known)}."
    elif best_known is not None:
        yield f"The best one known has loss {number(best_known)}."
    if optimum["reached_by"] is not None:
        yield f"{share(optimum['reached_by'])} of {counted(optimum['restarts'], 'random restart')} end there."
    if not optimum["stationarity"]["stationary"]:
        yield "It is not stationary yet: a longer search can improve it."
    if optimum["stopped_by"] == "budget":
        yield "The search ended with its time: with a larger budget it may find more."


def _sweep(sweep: Mapping[str, Any]) -> Iterator[str]:
    cells = sweep["cells"]
    ended = {state: sum(cell[state] for cell in cells) for state in ("succeeded", "failed", "cancelled")}
    told = ", ".join(f"{count} {state}" for state, count in ended.items() if count)
    jobs = counted(sum(ended.values()), "job")
    yield f"{counted(len(cells), 'cell')} of {listed(list(sweep['grid']))}, {jobs}: {told}."
    there = [cell for cell in cells if cell["loss"] is not None]
    if there:
        best = min(there, key=lambda cell: cell["loss"])
        values = ", ".join(f"{name} = {plain(value)}" for name, value in best["values"].items())
        yield f"The least loss is {number(best['loss'])}, at {values}."
    compared = [cell["loss_over_dnc"] for cell in there if cell["loss_over_dnc"] is not None]
    if compared:
        below = sum(ratio < 1 - 1e-6 for ratio in compared)
        yield f"{below or 'None'} of {counted(len(compared), 'cell')}: least loss below that of deep neural collapse."


def _reproduction(reproduction: Mapping[str, Any]) -> Iterator[str]:
    statements = reproduction["statements"]
    yield f"{reproduction['figure']}, done again at scale {number(reproduction['scale'])}."
    for agrees, words in ((True, "agree with the paper"), (False, "do not"), (None, "cannot be told at this scale")):
        count = sum(statement["agrees"] is agrees for statement in statements)
        if count:
            yield f"{count} of {counted(len(statements), 'statement')} {words}."
