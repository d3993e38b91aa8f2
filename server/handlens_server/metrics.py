"""Metrics for Prometheus, right for one process and for many.

With ``PROMETHEUS_MULTIPROC_DIR`` set, every worker writes its counts to a file there, and any worker answers for all.
Labels take few values: a route is its rule and never a path, and a method that HTTP does not name is ``other``.
"""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from handlens_server.events import BatchAnswer

__all__ = ["Metrics"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one application."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "handlens_http_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "handlens_http_request_seconds",
            "Time until the answer was made.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._events = Counter(
            "handlens_events", "Events received: stored, known or refused.", ("outcome",), registry=self._registry
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        named = method if method in _METHODS else "other"
        self._requests.labels(named, route, str(status)).inc()
        self._seconds.labels(named, route).observe(seconds)

    def count_events(self, answer: BatchAnswer) -> None:
        """Count the events of a batch."""
        for outcome, count in (("stored", answer.stored), ("known", answer.known), ("refused", len(answer.refused))):
            self._events.labels(outcome).inc(count)

    def render(self) -> bytes:
        """The counts of all workers, as Prometheus reads them."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if not folder:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
