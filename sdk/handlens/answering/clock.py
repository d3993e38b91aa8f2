"""How long the steps of an answer took, and how long all of it took so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopwatch"]


class Stopwatch:
    """Milliseconds by step, in the order in which steps began; a step that runs for several objects adds up.

    It runs from when it is made, or from `begun`, a time of `now`: when the request came, for one that had to wait.
    `laps` are the steps one by one, as (name, begin, end) by `now`.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter, *, begun: float | None = None) -> None:
        self._now = now
        self.begun = now() if begun is None else begun
        self.milliseconds: dict[str, float] = {}
        self.laps: list[tuple[str, float, float]] = []

    @property
    def elapsed(self) -> float:
        """Milliseconds since it runs."""
        return (self._now() - self.begun) * 1000

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        self.milliseconds.setdefault(name, 0.0)
        begun = self._now()
        yield
        self.add(name, begun, self._now())

    def add(self, name: str, begun: float, ended: float) -> None:
        """Count a step that was timed elsewhere, by the same clock."""
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (ended - begun) * 1000
        self.laps.append((name, begun, ended))
