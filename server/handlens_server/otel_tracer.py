"""The only module that imports OpenTelemetry (see `handlens_server.tracing`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from handlens import __version__
from handlens_server.trace_context import TraceContext
from handlens_server.tracing import Laps, epoch_offset

__all__ = ["OtelTracer", "otlp_processor"]

_SERVICE = "handlens-server"  # unless OTEL_SERVICE_NAME says otherwise
_MOST_OPEN = 10_000  # requests that began and did not end


def otlp_processor() -> SpanProcessor:
    """Sends spans by OTLP over HTTP, as the standard variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


class OtelTracer:
    """Records requests and their steps as spans. Thread-safe."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("handlens_server", __version__)
        self._open: dict[str, trace.Span] = {}
        self._lock = threading.Lock()

    def begin(self, parent: TraceContext | None) -> TraceContext:
        """See `Tracer.begin`."""
        context = None
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
            remote = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(NonRecordingSpan(remote))
        span = self._tracer.start_span("request", context, SpanKind.SERVER)
        made = span.get_span_context()
        told = TraceContext(f"{made.trace_id:032x}", f"{made.span_id:016x}", made.trace_flags.sampled)
        with self._lock:
            if len(self._open) >= _MOST_OPEN:
                self._open.clear()
            self._open[told.span_id] = span
        return told

    def end(
        self, context: TraceContext, name: str, begun: float, laps: Laps, attributes: Mapping[str, str | int]
    ) -> None:
        """See `Tracer.end`."""
        with self._lock:
            span = self._open.pop(context.span_id, None)
        if span is None or not span.is_recording():
            return
        offset = epoch_offset()
        span.update_name(name)
        span.set_attributes(dict(attributes))
        span.set_attribute("handlens.waited_ms", max(0, round((_began(span) - (begun + offset)) * 1000)))
        if int(attributes.get("http.response.status_code", 0)) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        inside = trace.set_span_in_context(span)
        for step, lap_begun, lap_ended in laps:
            lap = self._tracer.start_span(step, inside, start_time=_nanoseconds(lap_begun + offset))
            lap.end(_nanoseconds(lap_ended + offset))
        span.end()

    def close(self) -> None:
        """See `Tracer.close`."""
        self._provider.shutdown()


def _began(span: trace.Span) -> float:
    return (span.start_time or 0) / 1e9 if isinstance(span, Span) else 0.0


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
