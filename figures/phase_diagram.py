"""The catalogue of optima at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from figures.axes import Layered
from figures.heatmap import heatmap
from figures.style import finish


def phase_diagram(entries: Sequence[Mapping[str, Any]], *, dark: bool = False) -> dict[str, Any]:
    """The best known solutions by K and L: their rank, and their loss over that of DNC; a pair of maps for each decay.

    entries: as GET /v1/optima gives them. Raises ValueError where there are none.
    """
    if not entries:
        raise ValueError("there is no optimum to draw")
    decays = sorted({entry["decay"] for entry in entries})
    pairs = [_pair(decay, [entry for entry in entries if entry["decay"] == decay]) for decay in decays]
    title = "Best known solutions of the deep unconstrained features model"
    return finish(alt.vconcat(*pairs, spacing=30), title=title, dark=dark)


def _pair(decay: float, entries: Sequence[Mapping[str, Any]]) -> alt.HConcatChart:
    pair: alt.HConcatChart = alt.hconcat(
        _map(entries, [entry["rank"] for entry in entries], f"Rank before the last σ, decay {decay:g}", "rank"),
        _map(
            entries,
            [_over_dnc(entry) for entry in entries],
            f"Loss over that of deep neural collapse, decay {decay:g}",
            "loss / loss of DNC",
        ),
        spacing=40,
    ).resolve_scale(color="independent")
    return pair


def _over_dnc(entry: Mapping[str, Any]) -> float | None:
    dnc = entry["references"]["dnc"]
    return entry["loss"] / dnc if dnc else None


def _map(entries: Sequence[Mapping[str, Any]], values: Sequence[float | None], title: str, value_title: str) -> Layered:
    rows = [
        {"column": entry["num_classes"], "row": entry["depth"], "value": value}
        for entry, value in zip(entries, values, strict=True)
    ]
    chart = heatmap(rows, x_title="number of classes K", y_title="depth L", value_title=value_title, ascending=True)
    return chart.properties(title=alt.TitleParams(text=title, fontSize=12, anchor="start", frame="group"))
