"""Traces are a matter of settings, and of what is installed."""

import sys

import pytest
from pydantic import ValidationError

from jobs.settings import Settings


def test_traces_without_an_exporter_are_refused_with_the_way_to_one(monkeypatch) -> None:
    assert Settings(otlp_endpoint="http://127.0.0.1:4318").otlp_endpoint
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(ValidationError, match=r"pip install 'collapse-service\[otel\]'"):
        Settings(otlp_endpoint="http://127.0.0.1:4318")
    assert Settings().otlp_endpoint is None
