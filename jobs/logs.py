"""Logs: one line each on standard error, ours and the libraries' alike, with the ids that are bound."""

import logging
import sys

import structlog

from jobs.settings import Settings
from jobs.tracing import add_trace_id

CHATTY = ("celery.worker.strategy", "celery.app.trace", "httpx")


def configure_logs(settings: Settings) -> None:
    """Send everything through one formatter. Called once, by a composition root."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.otlp_endpoint is not None:
        shared.append(add_trace_id)
    text = in_text(settings)
    if not text:  # for people, the renderer sets traces beside their line
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
                if text
                else structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def in_text(settings: Settings) -> bool:
    """Whether lines are for people: as the settings say, else if a terminal shows them."""
    if settings.log_format is None:
        return sys.stderr.isatty()
    return settings.log_format == "text"
