"""Spans of requests for OpenTelemetry: an optional extra (``pip install 'handlens[server,tracing]'``).

Rules:

1. Nothing of OpenTelemetry is imported, and no request pays anything, while `HANDLENS_TRACING` is not set. Set to
   ``otlp`` spans go to where the standard variables say (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``,
   ``OTEL_TRACES_SAMPLER``...).
2. A request is a span, and each lap of its clock a span in it. A span carries the route, the method, the status, the
   problem's code and the request's id: never a header, a body, an address, or anything of who called.
3. Spans are sent by a thread of their own, which drops them when the collector is down: tracing never fails a request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from handlens_server.trace_context import TraceContext

__all__ = ["Laps", "NoTracer", "Tracer", "epoch_offset"]

Laps = Sequence[tuple[str, float, float]]


class Tracer(Protocol):
    """Records requests."""

    def begin(self, parent: TraceContext | None) -> TraceContext:
        """The context of a request that begins; `parent` is the caller's."""

    def end(
        self, context: TraceContext, name: str, begun: float, laps: Laps, attributes: Mapping[str, str | int]
    ) -> None:
        """A request ended; `begun` and the laps are seconds of `time.perf_counter`."""

    def close(self) -> None:
        """Send what is not sent yet."""


class NoTracer:
    """Passes the trace on and records nothing."""

    def begin(self, parent: TraceContext | None) -> TraceContext:
        """See `Tracer.begin`."""
        return TraceContext.new() if parent is None else parent.child()

    def end(
        self, context: TraceContext, name: str, begun: float, laps: Laps, attributes: Mapping[str, str | int]
    ) -> None:
        """See `Tracer.end`."""

    def close(self) -> None:
        """See `Tracer.close`."""


def epoch_offset() -> float:
    """What added to `time.perf_counter` gives seconds since 1970."""
    return time.time() - time.perf_counter()
