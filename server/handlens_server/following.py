"""Every request of an application has a trace: taken over from the caller, told in the answer and in the log.

A view that has steps to tell makes the request's clock (`request_clock`): it begins when the request came.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from flask import Flask, Response, g, request

from handlens_server.arrivals import arrived_at
from handlens_server.observing import request_id
from handlens_server.trace_context import TraceContext
from handlens_server.tracing import Tracer

if TYPE_CHECKING:
    from handlens.answering import Stopwatch

__all__ = ["follow", "request_clock", "server_timing"]

_HEADER = "traceparent"


def follow(app: Flask, tracer: Tracer) -> None:
    """Give every request of `app` its place in a trace. Call it after `observe`."""

    def begin() -> None:
        arrived_at(request.environ)
        g.trace = tracer.begin(TraceContext.read(request.headers.get(_HEADER)))
        structlog.contextvars.bind_contextvars(trace_id=g.trace.trace_id)

    def end(response: Response) -> Response:
        context: TraceContext | None = g.get("trace")
        if context is None:
            return response
        response.headers[_HEADER] = context.header()
        route = request.url_rule.rule if request.url_rule else "unmatched"
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.route": route,
            "http.response.status_code": response.status_code,
            "handlens.request_id": request_id(),
        }
        clock: Stopwatch | None = g.get("clock")
        laps = [] if clock is None else clock.laps
        tracer.end(context, f"{request.method} {route}", arrived_at(request.environ), laps, attributes)
        return response

    app.before_request(begin)
    app.after_request(end)


def request_clock() -> Stopwatch:
    """The clock of the request that is being answered; its first step is the wait for a thread (``queue``)."""
    from handlens.answering import Stopwatch  # what needs NumPy is imported when somebody searches

    clock: Stopwatch | None = g.get("clock")
    if clock is None:
        arrived = arrived_at(request.environ)
        clock = g.clock = Stopwatch(begun=arrived)
        # Where the server does not tell when a request came, that was noted a little after it was begun.
        clock.add("queue", arrived, max(arrived, float(g.get("started", arrived))))
    return clock


def server_timing() -> str:
    """The value of ``Server-Timing`` (W3C): milliseconds by step, and in all since the request came."""
    clock: Stopwatch | None = g.get("clock")
    steps = {} if clock is None else clock.milliseconds
    total = (time.perf_counter() - arrived_at(request.environ)) * 1000
    return ", ".join(f"{step};dur={took:.1f}" for step, took in (*steps.items(), ("total", total)))
