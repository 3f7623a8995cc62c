"""The experiments of the paper, one figure a file; `FIGURES` has them by name.

Source: Súkeník, Lampert, Mondelli 2024, Neural Collapse versus Low-rank Bias, NeurIPS (arXiv 2405.14468). What the
paper leaves unsaid, such as steps and initial scale, stands in each figure's `settings`.
"""

from collections.abc import Callable

from analysis.dufm.figures_of_paper import fig2_top, fig3_left, fig3_middle, fig3_right, fig5, fig6
from analysis.dufm.figures_of_paper.experiment import Experiment, Outcome

FIGURES: dict[str, Callable[[Experiment], Outcome]] = {
    "fig2-top": fig2_top.reproduce,
    "fig3-left": fig3_left.reproduce,
    "fig3-middle": fig3_middle.reproduce,
    "fig3-right": fig3_right.reproduce,
    "fig5": fig5.reproduce,
    "fig6": fig6.reproduce,
}

__all__ = ["FIGURES", "Experiment", "Outcome"]
