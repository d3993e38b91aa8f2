"""What is seen of a request: an id, one line in the log, and its place in the metrics.

Rules:

1. Every answer has ``X-Request-Id``: the caller's, when it is a short plain word, or a new one. Every line that is
   logged on the way carries it.
2. The log names the route, the path, the status and the time, and nothing about who called.
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

from handlens_server.metrics import Metrics

__all__ = ["observe", "request_id"]

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER = "X-Request-Id"


def request_id() -> str:
    """The id of the request that is being answered."""
    return str(g.request_id)


def observe(app: Flask, metrics: Metrics) -> None:
    """Log and count every request of `app`."""
    log = structlog.get_logger("handlens_server.requests")

    def begin() -> None:
        sent = request.headers.get(_HEADER, "")
        g.request_id = sent if _PLAIN.fullmatch(sent) else uuid.uuid4().hex
        g.started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        route = request.url_rule.rule if request.url_rule else "unmatched"
        response.headers[_HEADER] = g.request_id
        metrics.count_request(request.method, route, response.status_code, seconds)
        log.info(
            "request",
            method=request.method,
            route=route,
            path=request.path,
            status=response.status_code,
            seconds=round(seconds, 6),
        )
        return response

    app.before_request(begin)
    app.after_request(end)
