"""The best solution that was found, beside what there is to compare it with."""

from __future__ import annotations

from typing import Final

import altair as alt

from figures import words
from figures.axes import Range, Row, table
from figures.registry import Report, figure
from figures.style import BLUE, GREY, VERMILION

FAMILIES: Final = 12
"""The best ones are drawn."""


def _rows(report: Report) -> list[Row]:
    optimum = report["optimum"]
    references = optimum["references"]
    srg = references["srg"] or {}
    named = [
        ("found", optimum["loss"], "found"),
        ("zero", references["zero"], "reference"),
        ("deep neural collapse", references["dnc"], "reference"),
        ("strongly regular graph", srg.get("loss"), "reference"),
        *(
            (f"family: {words.cut(family['family'])}", family["loss"], "reference")
            for family in sorted(references["families"], key=lambda family: family["loss"])[:FAMILIES]
        ),
        ("best known", references["best_known"], "reference"),
        ("lower bound (proved)", references["lower_bound"], "bound"),
    ]
    rows = [{"name": name, "loss": loss, "kind": kind} for name, loss, kind in named if loss is not None]
    return sorted(rows, key=lambda row: (-row["loss"], row["kind"] != "reference"))


@figure(lambda report: {"references": "Loss of the solution found, and of others"} if report.get("optimum") else {})
def references(report: Report, _: str) -> alt.TopLevelMixin:
    """Losses from the greatest to the least."""
    rows = _rows(report)
    shown = Range.around((1.05 * row["loss"] for row in rows), zero=True)
    kinds = {"found": VERMILION, "reference": BLUE, "bound": GREY}
    chart = alt.Chart(table([{**row, "label": words.number(row["loss"])} for row in rows]))
    place = {
        "x": alt.X("loss:Q", title="loss", scale=shown.scale, axis=shown.axis),
        "y": alt.Y("name:N", title=None, sort=None),
    }
    colour = alt.Color(
        "kind:N", title=None, legend=None, scale=alt.Scale(domain=list(kinds), range=list(kinds.values()))
    )
    points = chart.mark_point(filled=True, size=90, opacity=1).encode(**place, color=colour)
    stems = chart.mark_rule(strokeWidth=1.5).encode(**place, x2=alt.value(0), color=colour)
    labels = chart.mark_text(align="left", dx=9, fontSize=11).encode(**place, text="label:N")
    return alt.layer(stems, points, labels).properties(width=460, height=26 * len(rows))
