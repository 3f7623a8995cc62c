"""The three panels of `head_on_digits.py`, as Vega-Lite, written as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt

Report = dict[str, Any]
Row = dict[str, Any]
WIDTH, HEIGHT = 420, 280
PARTS = {"loss": "#0072B2", "fit": "#D55E00", "regularization": "#009E73"}
SIGMA = {"before the ReLU": "#D55E00", "after the ReLU": "#0072B2", "without a ReLU": "#767676"}
COMMON: dict[str, Any] = {
    "background": "white",
    "font": "DejaVu Sans, Arial, sans-serif",
    "padding": 12,
    "axis": {"titleFontWeight": "normal"},
    "legend": {"symbolOpacity": 1, "titleFontWeight": "normal"},
    "title": {"anchor": "start"},
}


def draw(folder: Path, *, losses: list[Row], lines: dict[str, float], reports: list[Report]) -> list[Path]:
    """Write all; returns the files."""
    charts = {
        "loss": loss_panel(losses, lines),
        "variability": variability_panel(reports),
        "singular-values": spectrum_panel(reports),
    }
    files = []
    for name, chart in charts.items():
        for form in ("svg", "png"):
            files.append(folder / f"{name}.{form}")
            chart.configure(**COMMON).save(files[-1], scale_factor=2)
    return files


def loss_panel(losses: list[Row], lines: dict[str, float]) -> alt.LayerChart:
    """Loss, fit and regularization of the head, mean and extremes of the seeds, with the model's losses."""
    scale = alt.Scale(type="log", nice=False)
    ticks = alt.Axis(values=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10])
    x = alt.X("epoch:Q", title="epoch")
    colour = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
        legend=alt.Legend(orient="top"),
    )
    chart = alt.Chart(alt.InlineData(values=losses))
    band = chart.mark_area(opacity=0.2).encode(
        x=x,
        y=alt.Y("min(value):Q", title="loss of the head, mean and range", scale=scale, axis=ticks),
        y2="max(value):Q",
        color=colour,
    )
    mean = chart.mark_line().encode(x=x, y=alt.Y("mean(value):Q", scale=scale), color=colour)
    alike: dict[str, list[str]] = {}
    for name, loss in lines.items():
        alike.setdefault(f"{loss:.4f}", []).append(name)
    rows = [{"name": f"{', '.join(names)} {loss}", "loss": float(loss)} for loss, names in alike.items()]
    references = alt.Chart(alt.InlineData(values=rows)).encode(y="loss:Q")
    rules = references.mark_rule(strokeDash=[5, 4], color="#767676")
    labels = references.mark_text(align="left", dx=5).encode(text="name:N", x=alt.value(WIDTH))
    return _titled(alt.layer(rules, labels, band, mean), "Loss of the head over training")


def variability_panel(reports: list[Report]) -> alt.Chart:
    """Within-class over between-class variance of each layer, mean of the seeds."""
    rows = [
        {"epoch": report["step"], "layer": layer["name"], "value": layer["metrics"]["variability_trace_ratio"]}
        for report in reports
        for layer in report["layers"]
    ]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    chart = alt.Chart(alt.InlineData(values=[row for row in rows if row["value"] is not None]))
    lines = chart.mark_line(point=True).encode(
        x=alt.X("epoch:Q", title="epoch"),
        y=alt.Y(
            "mean(value):Q",
            title="within-class / between-class variance",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(format="~e", tickCount=6),
        ),
        color=alt.Color("layer:O", title="layer", scale=alt.Scale(domain=layers, scheme="viridis")),
    )
    return _titled(lines, "Variability within the classes (DNC1)")


def spectrum_panel(reports: list[Report]) -> alt.FacetChart:
    """Singular values of the class means at the last epoch, mean of the seeds."""
    last = max(report["step"] for report in reports)
    rows = [
        {
            "layer": layer["name"].removeprefix("relu(").removesuffix(")"),
            "sigma": _sigma(layer["name"]),
            "number": number,
            "value": value,
        }
        for report in reports
        if report["step"] == last
        for layer in report["layers"]
        for number, value in enumerate(layer["spectra"]["class_means"], 1)
    ]
    lines = (
        alt.Chart()
        .mark_line(point=True)
        .encode(
            x=alt.X("number:O", title="number", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mean(value):Q", title="singular value"),
            color=alt.Color(
                "sigma:N", title=None, sort=None, scale=alt.Scale(range=list(SIGMA.values()), domain=list(SIGMA))
            ),
        )
    )
    facets = lines.properties(width=170, height=180).facet(
        alt.Facet("layer:N", title=None, sort=None), data=alt.InlineData(values=rows), columns=5
    )
    return facets.properties(title="Singular values of the class means at the end")


def _sigma(layer: str) -> str:
    if layer in ("H_1", "output"):
        return "without a ReLU"
    return "after the ReLU" if layer.startswith("relu(") else "before the ReLU"


def _titled(chart: Any, title: str) -> Any:
    return chart.properties(width=WIDTH, height=HEIGHT, title=title)
