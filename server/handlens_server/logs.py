"""Logs: one JSON object a line on standard error, from handlens and from every library alike.

A line carries the request's id where there is one. It never carries an address, a token or anything of an event: what
libraries say of who called is left out.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict

__all__ = ["configure_logs", "logging_settings"]


_GUNICORN_REFUSAL = "Invalid request from ip="  # then the address, and a header as it came


def _shared() -> list[Any]:
    return [
        _without_caller,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),  # locals hold tokens
    ]


def _without_caller(_logger: object, _method: str, event: EventDict) -> EventDict:
    if str(event["event"]).startswith(_GUNICORN_REFUSAL):
        event["event"] = "a request that is no HTTP was refused"
    return event


def logging_settings(level: str = "INFO") -> dict[str, Any]:
    """The settings for `logging.config.dictConfig`, which gunicorn takes as well."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        "foreign_pre_chain": _shared(),
    }
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    quiet = {"level": "WARNING"}  # flask-limiter's lines below that hold the caller's address
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": handler},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "propagate": True, "handlers": []},
            "alembic": quiet,
            "flask-limiter": quiet,
        },
    }


def configure_logs() -> None:
    """Send structlog's lines through the standard library's logging, which `logging_settings` sets up."""
    structlog.configure(
        processors=[
            *_shared(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
