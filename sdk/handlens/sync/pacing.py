"""Giving way to searches of the same process while a pack is applied.

Python runs one thread at a time, and one that computes without a break keeps the others waiting for up to
`sys.getswitchinterval` (5 ms) each time they come back from a model, an index or the database, which a search does
dozens of times. So the thread that applies rows sleeps for a moment after each half millisecond of work. A release of
the interpreter without a sleep would not do: it takes longer to wake the other thread than to take the lock back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace", "Pacer", "no_pace"]

Pace = Callable[[], None]

_WORK = 0.0005  # seconds without a pause
_PAUSE = 0.0001  # seconds; waking a thread takes half of it


def no_pace() -> None:
    """Work on: nobody waits."""


class Pacer:
    """Call it often; it sleeps when it is time to."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._since > _WORK:
            time.sleep(_PAUSE)
            self._since = time.perf_counter()
