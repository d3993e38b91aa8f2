"""When a request came: before it waited for a thread, where the server can tell.

gunicorn's threaded worker accepts connections in one thread and hands each to a pool; while all threads work, requests
wait in the pool's queue, and nothing in WSGI says for how long. `TimedWorker` notes the time at which it hands a
connection over, which for a connection that is kept open is when its next request became readable. The time in the
kernel's own queue, before a connection is accepted, cannot be seen from here.
"""

from __future__ import annotations

import threading
import time
from typing import Any

__all__ = ["ARRIVED", "arrived_at", "note_arrival"]

ARRIVED = "handlens.arrived"  # in the WSGI environment: seconds of `time.perf_counter`
_waiting = threading.local()


def note_arrival(at: float | None) -> None:
    """The request that this thread is about to answer came at a time; None: now."""
    _waiting.at = at


def arrived_at(environ: dict[str, Any]) -> float:
    """When a request came, in seconds of `time.perf_counter`: now, where the server does not tell."""
    if ARRIVED not in environ:
        at = getattr(_waiting, "at", None)
        _waiting.at = None  # told once: the next request of this thread has a time of its own
        environ[ARRIVED] = time.perf_counter() if at is None else at
    return float(environ[ARRIVED])
