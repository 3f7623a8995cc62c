"""Figures: a report, as JSON, becomes a Vega-Lite specification with its numbers; one function a figure.

>>> report = {"layers": [], "catalogue": {}, "training": None}
>>> names(report)
()
"""

from figures import layers, optimum, reproduction, single_metrics, spectra, sweep, training  # noqa: F401 (they register)
from figures.phase_diagram import phase_diagram
from figures.registry import FigureEntry, UnknownFigure, names, specification
from figures.rendering import png, svg
from figures.series import metric_by_step, steps_to_draw

__all__ = [
    "FigureEntry",
    "UnknownFigure",
    "metric_by_step",
    "names",
    "phase_diagram",
    "png",
    "specification",
    "steps_to_draw",
    "svg",
]
