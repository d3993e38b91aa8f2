"""The log that a new policy is scored on: exported events, each search with what its user did with the answer.

Rules:

1. A search counts when its event carries an exposure (`handlens.wire.exposure`); an event that comes twice counts once.
2. An item is rewarded with 1 when its user opened or saved it, however often; hiding it takes the reward away.
3. A line that is no event is counted and named, not passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from handlens.errors import DecodeError
from handlens.wire.event import Event
from handlens.wire.exposure import Exposure

__all__ = ["Log", "LoggedAnswer", "read_log"]


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """A search and its rewards; `day` is when it was made, such as 2026-01-31."""

    request_id: str
    object_type: str
    day: str
    exposure: Exposure
    rewards: frozenset[str]  # ids of items

    @property
    def reward(self) -> int:
        """How many of the shown items were rewarded."""
        return sum(place.item_id in self.rewards for place in self.exposure.places)


@dataclass(frozen=True, slots=True)
class Log:
    """The answers of a log, and the lines that are no events with the first reason."""

    answers: tuple[LoggedAnswer, ...]
    refused: int = 0
    first_refusal: str = ""


@dataclass(slots=True)
class _Reading:
    searches: dict[str, Event] = field(default_factory=dict)
    liked: dict[str, set[str]] = field(default_factory=dict)
    hidden: dict[str, set[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def read_log(lines: Iterable[str]) -> Log:
    """Read events as ``handlens-server events export`` writes them."""
    found = _Reading()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _take(line, number, found)
    answers = (_answer(event, found) for event in found.searches.values())
    return Log(tuple(answers), len(found.refused), found.refused[0] if found.refused else "")


def _take(line: str, number: int, found: _Reading) -> None:
    try:
        event = Event.from_json(line)
    except DecodeError as error:
        found.refused.append(f"line {number}: {error}")
        return
    if event.kind == "search" and event.exposure is not None:
        found.searches.setdefault(event.request_id, event)
    elif event.kind in ("click", "save"):
        found.liked.setdefault(event.request_id, set()).add(event.item_id)
    elif event.kind == "hide":
        found.hidden.setdefault(event.request_id, set()).add(event.item_id)


def _answer(event: Event, found: _Reading) -> LoggedAnswer:
    liked = found.liked.get(event.request_id, set()) - found.hidden.get(event.request_id, set())
    exposure = event.exposure
    if exposure is None:
        raise ValueError("an event without an exposure")
    return LoggedAnswer(event.request_id, event.object_type, event.at[:10], exposure, frozenset(liked))
