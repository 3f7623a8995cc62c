"""Send the features of a classifier to the collapse-analysis service and read its reports.

The names below are loaded on first use: whoever needs only `collapse_client.format` does not pay for HTTP.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_client.client import Client
    from collapse_client.errors import CollapseError, JobFailed, ServiceError, ServiceUnreachable, WaitTimeout
    from collapse_client.format.moments_writer import write_moments
    from collapse_client.format.writer import write_features
    from collapse_client.recording.recorder import Recorder
    from collapse_client.reports.report import Report

__all__ = [
    "Client",
    "CollapseError",
    "JobFailed",
    "Recorder",
    "Report",
    "ServiceError",
    "ServiceUnreachable",
    "WaitTimeout",
    "write_features",
    "write_moments",
]

_MODULES = {
    "Client": "client",
    "Recorder": "recording",
    "Report": "reports.report",
    "write_features": "format.writer",
    "write_moments": "format.moments_writer",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
