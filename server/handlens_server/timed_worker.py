"""gunicorn's threaded worker, which also notes when requests came (`handlens_server.arrivals`).

A request that is refused before its body is read has a client that still sends it: were the connection closed then, the
client would see it break and never read the refusal. So what is left of a body is read away after the answer was sent,
more of it than gunicorn would: a whole photo, but not for long.
"""

from __future__ import annotations

import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from handlens_server.arrivals import note_arrival

__all__ = ["TimedWorker"]

_DRAINED = 5_000_000  # bytes of an unread body, at most
_DRAIN_SECONDS = 1.0


class TimedWorker(ThreadWorker):  # type: ignore[misc]
    """Notes the time at which a connection is handed to the threads."""

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection over."""
        conn.handed_over = time.perf_counter()
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """Answer one request of a connection."""
        # A connection that was just opened may have sent nothing yet: its request comes while a thread waits for it.
        has_come = conn.initialized or getattr(conn, "data_ready", True) or conn.wait_for_data(0)
        note_arrival(conn.handed_over if has_come else None)
        return super().handle(conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        until = time.monotonic() + _DRAIN_SECONDS
        if keepalive and not conn.parser.finish_body(deadline=until, max_bytes=_DRAINED):
            return False
        return bool(super()._keepalive_after(conn, keepalive))
