"""Reports as typed objects: the JSON as it came, with its fields as attributes too, and data frames made of it.

report.py        `Report`, what `Client.report` returns
layers.py        one layer: metrics, spectra, structure, classes
summary.py       the report in short
dufm.py          what the kinds of the deep unconstrained features model add
view.py          how a field becomes an attribute
frames.py        pandas
"""

from collapse_client.reports.layers import LayerReport, Warning
from collapse_client.reports.report import Report

__all__ = ["LayerReport", "Report", "Warning"]
