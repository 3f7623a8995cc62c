"""Figures: a report, as JSON, becomes a Vega-Lite specification with its numbers; one function a figure.

>>> report = {"layers": [], "catalogue": {}, "training": None}
>>> names(report)
()
"""

from figures import reproduction, training, optimum, sweep, layers, spectra, single_metrics  # noqa: F401, I001 (in the order of the menu)
from figures.phase_diagram import phase_diagram
from figures.registry import FigureEntry, UnknownFigure, names, specification
from figures.rendering import png, svg

__all__ = ["FigureEntry", "UnknownFigure", "names", "phase_diagram", "png", "specification", "svg"]
