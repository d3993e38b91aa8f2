"""Which tracer the settings ask for (see `handlens_server.tracing`)."""

from __future__ import annotations

from handlens_server.config import Config, ConfigError
from handlens_server.tracing import NoTracer, Tracer

__all__ = ["open_tracer"]


def open_tracer(config: Config) -> Tracer:
    """The tracer that the settings ask for.

    Raises:
        ConfigError: it is not known, or OpenTelemetry is not installed.
    """
    if not config.tracing:
        return NoTracer()
    if config.tracing != "otlp":
        raise ConfigError("HANDLENS_TRACING cannot be used: give otlp, or none")
    try:
        from handlens_server.otel_tracer import OtelTracer, otlp_processor
    except ImportError as error:
        raise ConfigError("tracing needs OpenTelemetry: pip install 'handlens[server,tracing]'") from error
    return OtelTracer(otlp_processor())
