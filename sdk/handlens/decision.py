"""The decision behind one object's sections, as a record: what was offered, what became of it, and why.

`handlens.blend.explain` makes it; `handlens.drawing` draws it. Scores are the sources' own, values and ranks are on the
policy's common scale, as `handlens.blend.standing` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Considered", "Decision", "SectionDecision", "Verdict"]


@dataclass(frozen=True, slots=True)
class Considered:
    """What a section said to a candidate: "taken", or why it does not take it."""

    rule: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one candidate: its `place` (from 1) in a `section`, or why it was `left_out`.

    `penalty` is what likeness to the section's other items took from its rank.
    """

    item_id: str
    title: str
    kind: str
    source: str
    reason: str
    score: float
    value: float
    rank: float
    penalty: float
    considered: tuple[Considered, ...]
    section: str = ""
    place: int = 0
    propensity: float = 1.0
    explored: bool = False
    left_out: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        rounded = {name: round(getattr(self, name), 4) for name in ("score", "value", "rank", "penalty")}
        texts = {name: getattr(self, name) for name in ("item_id", "title", "kind", "source", "reason")}
        return {
            **texts,
            **rounded,
            "considered": {one.rule: one.outcome for one in self.considered},
            "section": self.section,
            "place": self.place,
            "propensity": round(self.propensity, 6),
            "explored": self.explored,
            "left_out": self.left_out,
        }


@dataclass(frozen=True, slots=True)
class SectionDecision:
    """A section of the layout: its share of the places, how many that is, and how many of how many takers stand."""

    rule: str
    title: str
    share: float
    places: int
    takers: int
    shown: int
    closed: str = ""  # why it was not opened

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Decision:
    """All of it. `layout` is whose sections were used, `tried` those before it that nobody wanted to stand in."""

    request_id: str
    policy: str
    object_type: str
    type_confidence: float
    words: tuple[tuple[str, float], ...]
    band: str
    layout: str
    tried: tuple[str, ...]
    limit: int
    explored: bool
    sections: tuple[SectionDecision, ...]
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "request_id": self.request_id,
            "policy": self.policy,
            "object_type": self.object_type,
            "type_confidence": round(self.type_confidence, 4),
            "words": {tag: round(confidence, 4) for tag, confidence in self.words},
            "band": self.band,
            "layout": self.layout,
            "tried": list(self.tried),
            "limit": self.limit,
            "explored": self.explored,
            "sections": [section.to_dict() for section in self.sections],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }
