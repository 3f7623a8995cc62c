"""Every metric for itself."""

from __future__ import annotations

import altair as alt

from figures.axes import layer_width
from figures.layers import HEIGHT, measured, metric_chart
from figures.registry import Report, figure


@figure(
    lambda report: {f"metric-{name}": f"{entry['title']}, layer by layer" for name, entry in measured(report).items()}
)
def metric_by_layer(report: Report, name: str) -> alt.TopLevelMixin:
    """One metric."""
    return metric_chart(
        report, name.removeprefix("metric-"), width=layer_width(len(report["layers"])), height=HEIGHT, named=True
    )
