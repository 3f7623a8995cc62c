"""Figure 3, left: the loss of the SRG solution over that of DNC, for more and more classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from analysis.dufm.figures_of_paper import panels
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome
from analysis.dufm.figures_of_paper.judging import falls
from analysis.dufm.problem import Problem
from analysis.dufm.references import dnc, srg_reference
from analysis.dufm.report import Statement

DEPTHS: Final = (3, 4, 5)
VERTICES: Final = tuple(range(4, 15))
"""What the paper leaves unsaid, with the decay: small enough for DNC to be better than zero at K = 91."""
DECAY: Final = 0.0005
WIDTH: Final = 10_000
"""Neurons of a layer: room for all sets of seven of 14 vertices."""

Row = dict[str, Any]


def reproduce(experiment: Experiment) -> Outcome:
    """Solve the two families for each r and L; half a minute, and no training."""
    vertices = experiment.points(VERTICES)
    share = 1 / (len(DEPTHS) * len(vertices))
    rows = [
        experiment.compute(f"L = {depth}, r = {r}", partial(compare, r, depth), share=share)
        for depth in DEPTHS
        for r in vertices
    ]
    return Outcome(
        problem=problem(vertices[-1], DEPTHS[-1]),
        settings={"depths": DEPTHS, "vertices": vertices, "decay": DECAY, "width": WIDTH},
        panels=(
            panels.curve(
                "ratio",
                "Loss of the SRG solution over that of DNC, K = r(r − 1)/2 classes",
                rows,
                lines={"DNC": 1.0},
                x="vertices",
                y="ratio",
                color="depth",
                x_title="r, the vertices of the complete graph",
                y_title="loss of SRG / loss of DNC",
            ),
        ),
        statements=statements(rows),
    )


def problem(vertices: int, depth: int) -> Problem:
    """The model with as many classes as the complete graph has edges."""
    return Problem(
        num_classes=vertices * (vertices - 1) // 2,
        widths=(WIDTH,) * depth,
        weight_decays=(DECAY,) * depth,
        feature_decay=DECAY,
    )


def compare(vertices: int, depth: int) -> Row:
    """One point."""
    model = problem(vertices, depth)
    srg, collapsed = srg_reference(model), dnc(model)
    return {
        "depth": f"L = {depth}",
        "vertices": vertices,
        "classes": model.num_classes,
        "srg_loss": srg.loss,
        "dnc_loss": collapsed.loss,
        "ratio": srg.loss / collapsed.loss,
        "subset_size": srg.subset_size,
    }


def statements(rows: Sequence[Row]) -> tuple[Statement, ...]:
    """What the paper says of these ratios."""
    curves: dict[str, dict[int, float]] = {}
    for row in rows:
        curves.setdefault(row["depth"], {})[row["vertices"]] = row["ratio"]
    return (_below_one(curves), _falls_with_classes(curves), _falls_with_depth(curves))


def _below_one(curves: Mapping[str, Mapping[int, float]]) -> Statement:
    first = {
        depth: next((r for r in sorted(curve) if all(curve[s] < 1 for s in curve if s >= r)), None)
        for depth, curve in curves.items()
    }
    return Statement(
        statement="With enough classes the SRG solution has a smaller loss than DNC, at every depth from L = 3",
        source="section 4; figure 3, left",
        agrees=all(r is not None for r in first.values()),
        measured={f"below 1 from r on, {depth}": r for depth, r in first.items()},
    )


def _falls_with_classes(curves: Mapping[str, Mapping[int, float]]) -> Statement:
    return Statement(
        statement="The loss of SRG over that of DNC falls as r, and with it the number of classes, grows",
        source="figure 3, left",
        agrees=all(falls([curve[r] for r in sorted(curve)], settled=True) for curve in curves.values()),
        measured={f"at r = {max(curve)}, {depth}": curve[max(curve)] for depth, curve in curves.items()},
    )


def _falls_with_depth(curves: Mapping[str, Mapping[int, float]]) -> Statement:
    largest = max(next(iter(curves.values())))
    ends = [curve[largest] for curve in curves.values()]
    return Statement(
        statement="It is the smaller the deeper the model",
        source="figure 3, left",
        agrees=falls(ends, settled=True),
        measured={f"at r = {largest}, {depth}": curve[largest] for depth, curve in curves.items()},
    )
