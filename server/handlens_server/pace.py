"""How long work takes lately, so that it can be said beforehand whether there is time for it.

An estimate is the moving mean plus twice the moving mean deviation, as TCP estimates its round trips (Jacobson,
*Congestion Avoidance and Control*, 1988; RFC 6298): a step that varies is given more time. It follows a change of the
machine's load within some ten samples, and costs a microsecond. The first of a kind is not counted: it opens models
and files.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

__all__ = ["Pace"]

_MEAN_GAIN, _DEVIATION_GAIN = 1 / 8, 1 / 4  # as RFC 6298
_FADE = 0.95
_SLACK = 2.0  # deviations added to the mean


@dataclass(slots=True)
class _Track:
    mean: float
    deviation: float
    least: float


class Pace:
    """Milliseconds by kind of work. Thread-safe."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def note(self, kind: str, milliseconds: float) -> None:
        """Work of this kind took so long."""
        with self._lock:
            track = self._tracks.get(kind)
            if track is None:
                if kind in self._begun:
                    self._tracks[kind] = _Track(milliseconds, milliseconds / 2, milliseconds)
                self._begun.add(kind)
                return
            error = milliseconds - track.mean
            track.mean += _MEAN_GAIN * error
            track.deviation += _DEVIATION_GAIN * (abs(error) - track.deviation)
            track.least = min(track.least, milliseconds)

    def fade(self, kind: str) -> None:
        """Shrink an estimate that refused somebody: nothing that is refused corrects it."""
        with self._lock:
            track = self._tracks.get(kind)
            if track is not None:
                track.mean *= _FADE
                track.deviation *= _FADE

    def mean(self, kind: str) -> float:
        """What such work takes on average; 0 where it was never done."""
        track = self._tracks.get(kind)
        return 0.0 if track is None else track.mean

    def least(self, kind: str) -> float:
        """The shortest time that such work ever took; 0 where it was never done."""
        track = self._tracks.get(kind)
        return 0.0 if track is None else track.least

    def expected(self, kind: str) -> float:
        """What such work takes at most, mostly; 0 where it was never done."""
        track = self._tracks.get(kind)
        return 0.0 if track is None else track.mean + _SLACK * track.deviation
