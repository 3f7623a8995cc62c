"""Traces: one from the request over its job to every attempt and phase, sent by OTLP where an endpoint is set.

Without one, OpenTelemetry's own stand-ins take the spans, and nothing is kept or sent.
"""

from collections.abc import MutableMapping
from typing import Any

from opentelemetry import context, trace
from opentelemetry.propagate import extract
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from jobs.settings import Settings
from jobs.tables import Job

SEND_EVERY_MILLISECONDS = 1000
SEND_SECONDS = 3.0
tracer = trace.get_tracer("collapse")


def configure_tracing(settings: Settings, *, service: str) -> None:
    """Send the spans of this process, called once by a composition root; `service` is its name among others."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=SEND_EVERY_MILLISECONDS))
    trace.set_tracer_provider(provider)
    event.listen(Engine, "before_cursor_execute", _statement_begins)
    event.listen(Engine, "after_cursor_execute", _statement_ends)
    event.listen(Engine, "handle_error", _statement_fails)


def send_the_rest() -> None:
    """Called before a process ends that runs no exit handlers."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "shutdown"):
        provider.shutdown()


def context_of(job: Job) -> context.Context:
    """The context of the span in which the job was made."""
    return extract({"traceparent": job.traceparent} if job.traceparent else {})


def add_trace_id(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add to a log line the id of the trace that it belongs to."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"] = trace.format_trace_id(span.trace_id)
    return line


def _statement_begins(
    connection: Any, cursor: Any, statement: str, parameters: Any, execution: Any, many: bool
) -> None:
    if trace.get_current_span().is_recording():  # the loops that poll would be traces of their own
        attributes = {"db.system.name": connection.dialect.name, "db.query.text": statement}
        verb = statement.split(maxsplit=1)[0]
        connection.info["span"] = tracer.start_span(verb, kind=trace.SpanKind.CLIENT, attributes=attributes)


def _statement_ends(connection: Any, cursor: Any, statement: str, parameters: Any, execution: Any, many: bool) -> None:
    _end(connection)


def _statement_fails(failure: ExceptionContext) -> None:
    if failure.connection is not None:
        _end(failure.connection, error=type(failure.original_exception).__name__)


def _end(connection: Any, *, error: str | None = None) -> None:
    span: trace.Span | None = connection.info.pop("span", None)
    if span is not None:
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end()
