"""Training: losses, collapse and ranks over the steps, and where the runs ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import altair as alt

from figures import words
from figures.axes import Layered, Range, Row, labelled_lines, table, vertical, whole_ticks
from figures.registry import Report, figure
from figures.spectra import MOST_PANELS, spectrum_lines, spectrum_rows
from figures.style import BLUE, GRADIENT, GREEN, GREY, LINES, ORANGE, ORDERED, PURPLE, SKY, VERMILION

WIDTH, HEIGHT = 560, 320
MOST_POINTS: Final = 4_000
"""Of the lines of a figure: more steps are thinned."""
STEP_LABEL: Final = "format(datum.value, datum.value < 1000 ? 'd' : '~s')"
"""How a step is written, as Vega's expression."""
MOST_NAMED_LINES: Final = 20
MOST_BANDS: Final = 3
"""More bands on one another hide the lines."""
PARTS: Final = {"loss": BLUE, "fit": VERMILION, "regularization": GREEN}
PARTS_DASHES: Final = {"loss": [7, 3], "fit": [1, 0], "regularization": [1, 0]}
STRUCTURES: Final = {
    "zero": ("zero", GREY),
    "dnc": ("deep neural collapse", BLUE),
    "srg": ("strongly regular graph", VERMILION),
    "low_rank": ("low rank", ORANGE),
    "other": ("other", PURPLE),
    None: ("diverged", SKY),
}


def reference_losses(references: Mapping[str, Any]) -> dict[str, float]:
    """Label with number → loss, of all references that there are."""
    srg = references.get("srg") or {}
    found = {
        "zero": references.get("zero"),
        "DNC": references.get("dnc"),
        "SRG": srg.get("loss"),
        "best known": references.get("best_known"),
        "lower bound": references.get("lower_bound"),
    }
    return {f"{name} {words.number(loss)}": float(loss) for name, loss in found.items() if loss is not None}


def thinned(steps: Sequence[int], *, series: int) -> list[int]:
    """Which of the steps to draw: the first, the last, and evenly between as many as so many lines can have.

    >>> thinned([0, 10, 20, 30], series=2_000)
    [0, 3]
    """
    most = max(2, MOST_POINTS // max(1, series))
    if len(steps) <= most:
        return list(range(len(steps)))
    return sorted({round(index * (len(steps) - 1) / (most - 1)) for index in range(most)})


def step_axis(steps: Iterable[int]) -> alt.X:
    """Training steps along x."""
    there = list(steps)
    first, last = min(there, default=0), max(there, default=1)
    return alt.X(
        "step:Q",
        title="step of gradient descent",
        scale=alt.Scale(domain=[first, last], nice=False),
        axis=alt.Axis(labelExpr=STEP_LABEL, **whole_ticks(first, last)),
    )


def is_alone(rows: Sequence[Row]) -> bool:
    """Whether there is one step only: a line of one point is none, and the point is to be drawn.

    >>> is_alone([{"step": 0, "mean": 0.5}]), is_alone([{"step": 0, "mean": 0.5}, {"step": 10, "mean": 0.4}])
    (True, False)
    """
    return len({row["step"] for row in rows if row["mean"] is not None}) == 1


def band_rows(band: Mapping[str, Any], steps: Sequence[int], which: Iterable[int], series: str) -> list[Row]:
    """Mean, and mean ± one standard deviation, kept within the runs' extremes where the band has them."""
    rows = []
    least, most = band.get("min"), band.get("max")
    for index in which:
        mean, std = band["mean"][index], band["std"][index]
        row: Row = {"step": steps[index], "series": series, "mean": mean, "low": None, "high": None}
        if mean is not None and std is not None:
            row["low"] = mean - std if least is None else max(mean - std, least[index])
            row["high"] = mean + std if most is None else min(mean + std, most[index])
        rows.append(row)
    return rows


@figure(lambda report: {"loss": "Loss over training"} if report.get("training") else {})
def loss(report: Report, _: str) -> alt.TopLevelMixin:
    """Loss, fit and regularization, mean and spread over the runs, with the reference losses."""
    training = report["training"]
    trajectory = training["trajectory"]
    which = thinned(trajectory["step"], series=len(PARTS))
    rows = [row for part in PARTS for row in band_rows(trajectory[part], trajectory["step"], which, part)]
    runs = len(training["runs"])
    title = f"loss, mean ± 1 standard deviation of {runs} runs" if runs > 1 else "loss"
    return loss_chart(rows, reference_losses(training["references"]), title=title)


def loss_chart(rows: Sequence[Row], lines: Mapping[str, float], *, title: str) -> Layered:
    """Bands of loss, fit and regularization over the steps, on a logarithmic axis, with lines across."""
    losses = [row["mean"] for row in rows if row["series"] != "fit"]
    fits = [row["mean"] for row in rows if row["series"] == "fit" and row["mean"]]
    # The fit may go to 0 with all decays 0: three decades of it are enough.
    floor = min((value for value in [*losses, *lines.values()] if value), default=None)
    shown = Range.around(
        [*losses, *lines.values(), *(value for value in fits if floor is None or value > 1e-3 * floor)], log=True
    )
    names = [name for name in PARTS if any(row["series"] == name for row in rows)]
    # Where loss and regularization coincide, the loss, which is drawn last, shows the other between its dashes.
    rows = sorted(rows, key=lambda row: -names.index(row["series"]))
    colour = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=names, range=[PARTS[name] for name in names]),
        legend=alt.Legend(orient="top", **LINES),
    )
    chart = alt.Chart(table(rows))
    x = step_axis(row["step"] for row in rows)
    band = chart.mark_area(opacity=0.2).encode(x=x, y=vertical("low", title, shown), y2=alt.Y2("high:Q"), color=colour)
    dashes = alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=[PARTS_DASHES[name] for name in names]))
    line = chart.mark_line(strokeWidth=2.2, point=is_alone(rows)).encode(
        x=x, y=vertical("mean", title, shown), color=colour, strokeDash=dashes.title(None)
    )
    across = labelled_lines(lines, shown, height=HEIGHT, title=title)
    return alt.layer(across, band, line).properties(width=WIDTH, height=HEIGHT)


def _has_metric(report: Report, metric: str) -> bool:
    training = report.get("training") or {"trajectory": {"metrics": {}}}
    bands = training["trajectory"]["metrics"].get(metric, {})
    return any(value is not None for band in bands.values() for value in band["mean"])


@figure(
    lambda report: (
        {"variability": "Within-class over between-class variance (DNC1), over training"}
        if _has_metric(report, "variability_trace_ratio")
        else {}
    )
)
def variability(report: Report, _: str) -> alt.TopLevelMixin:
    """Of each layer, on a logarithmic axis."""
    return _layers_over_steps(
        report, "variability_trace_ratio", title="within-class / between-class variance", log=True
    )


@figure(
    lambda report: (
        {"ranks-training": "Rank of the class means over training"} if _has_metric(report, "class_mean_rank") else {}
    )
)
def ranks_over_training(report: Report, _: str) -> alt.TopLevelMixin:
    """Of each layer, the mean over the runs."""
    return _layers_over_steps(report, "class_mean_rank", title="rank of the class means, mean of the runs", log=False)


def _layers_over_steps(report: Report, metric: str, *, title: str, log: bool) -> Layered:
    trajectory = report["training"]["trajectory"]
    bands = trajectory["metrics"][metric]
    which = thinned(trajectory["step"], series=len(bands))
    rows = [
        {**row, "position": position}
        for position, (label, band) in enumerate(zip(words.labels(bands), bands.values(), strict=True), 1)
        for row in band_rows(band, trajectory["step"], which, label)
        if row["mean"] is not None
    ]
    return layers_over_steps(rows, title=title, log=log)


def layers_over_steps(rows: Sequence[Row], *, title: str, log: bool) -> Layered:
    """A line for each series, coloured by position along depth.

    Few of them have bands of ± 1 standard deviation.
    """
    series = list(dict.fromkeys(row["series"] for row in rows))
    shown = Range.around((row["mean"] for row in rows), log=log, zero=not log)
    colour: Any = alt.Color(
        "position:Q", title="layer, by position", scale=alt.Scale(range=GRADIENT), legend=alt.Legend(format="d")
    )
    named = len(series) <= MOST_NAMED_LINES
    if named:
        colour = alt.Color(
            "series:N",
            title="layer",
            sort=None,
            scale=alt.Scale(domain=series, range=ORDERED),
            legend=alt.Legend(**LINES),
        )
    chart = alt.Chart(table(rows))
    x = step_axis(row["step"] for row in rows)
    each: dict[str, Any] = {"color": colour, "detail": "series:N", "x": x}
    dashes = {"strokeDash": _dashes(series)} if named else {}
    line = chart.mark_line(strokeWidth=1.8, point=is_alone(rows)).encode(
        **each, **dashes, y=vertical("mean", title, shown)
    )
    band = chart.mark_area(opacity=0.15).encode(**each, y=vertical("low", title, shown), y2=alt.Y2("high:Q"))
    return alt.layer(*([band] if len(series) <= MOST_BANDS else []), line).properties(width=WIDTH, height=HEIGHT)


def _dashes(series: Sequence[str]) -> alt.StrokeDash:
    """Layers after their σ are dashed, for those who print without colours."""
    styles = [[4, 3] if label.startswith("relu(") or label.endswith(".relu") else [1, 0] for label in series]
    return alt.StrokeDash("series:N", sort=None, title="layer", scale=alt.Scale(domain=list(series), range=styles))


def _final_spectra(report: Report) -> dict[str, list[float]]:
    training = report.get("training")
    bands = training["trajectory"]["singular_values"] if training else {}
    return {
        layer: [value for value in band["mean"][-1] if value is not None]
        for layer, band in bands.items()
        if band["mean"] and any(value is not None for value in band["mean"][-1])
    }


@figure(
    lambda report: (
        {"singular-values-training": "Singular values of the class means at the end, mean of the runs"}
        if 0 < len(_final_spectra(report)) <= 2 * MOST_PANELS
        else {}
    )
)
def singular_values_at_the_end(report: Report, _: str) -> alt.TopLevelMixin:
    """Of each layer, before and after σ."""
    return spectrum_lines(spectrum_rows(_final_spectra(report)))


@figure(lambda report: {"runs": "Where the runs ended"} if report.get("training") else {})
def runs(report: Report, _: str) -> alt.TopLevelMixin:
    """The loss of each run at the end, by the kind of its solution, with the reference losses."""
    training = report["training"]
    rows = [
        {"run": number, "loss": run["loss"], "kind": STRUCTURES[run["structure"]][0]}
        for number, run in enumerate(sorted(training["runs"], key=_by_loss), 1)
    ]
    lines = reference_losses(training["references"])
    # A run that has diverged may have any loss: it is drawn at the edge.
    shown = Range.around(
        [*(run["loss"] for run in training["runs"] if run["stop_reason"] != "diverged"), *lines.values()], log=True
    )
    kinds = [kind for kind in STRUCTURES.values() if any(row["kind"] == kind[0] for row in rows)]
    points = (
        alt.Chart(table(rows))
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            x=alt.X(
                "run:Q",
                title="run, by loss",
                axis=alt.Axis(format="d", **whole_ticks(1, len(rows))),
                scale=alt.Scale(domain=[0.5, len(rows) + 0.5], nice=False),
            ),
            y=vertical("loss", "loss at the end", shown),
            color=alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(domain=[name for name, _ in kinds], range=[colour for _, colour in kinds]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("kind:N", legend=None, scale=alt.Scale(domain=[name for name, _ in kinds])),
        )
    )
    across = labelled_lines(lines, shown, height=HEIGHT, title="loss at the end")
    return alt.layer(across, points).properties(width=420, height=HEIGHT)


def _by_loss(run: Mapping[str, Any]) -> tuple[bool, float]:
    return run["loss"] is None, run["loss"] or 0.0
