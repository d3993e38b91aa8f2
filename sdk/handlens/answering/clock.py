"""How long the steps of an answer took, and how long all of it took so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopwatch"]


class Stopwatch:
    """Milliseconds by step, in the order in which steps began; a step that runs for several objects adds up.

    It runs from when it is made.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._begun = now()
        self.milliseconds: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Milliseconds since it was made."""
        return (self._now() - self._begun) * 1000

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        self.milliseconds.setdefault(name, 0.0)
        begun = self._now()
        yield
        self.milliseconds[name] += (self._now() - begun) * 1000
