"""What a search answers, and the records that its steps hand to each other.

``SearchResult -> FoundObject -> Section -> Match``; every match carries a `Why`. `Neighbour`, `Understanding`, `Query`
and `Candidate` are what flows between understanding, the sources and the blend. An answer takes a hundred neighbours
and candidates: they are named tuples, which are made three times as fast as frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from handlens.decision import Decision
from handlens.geometry import Box
from handlens.wire.fields import Fields
from handlens.wire.item import Item
from handlens.wire.palette import COLOURS

__all__ = [
    "Annotation",
    "Candidate",
    "Colour",
    "Coverage",
    "Evidence",
    "FoundObject",
    "LeftOut",
    "Match",
    "Neighbour",
    "Prominence",
    "Query",
    "Region",
    "SearchResult",
    "Section",
    "Understanding",
    "Why",
]


@dataclass(frozen=True, slots=True)
class Prominence:
    """Why an object is the photo's subject or is not: three numbers 0..1 and their product.

    `size` is the root of the area that it covers together with others of its label, `place` is 1 in the middle of the
    photo and falls to one half in a corner, `confidence` is the detector's.
    """

    size: float
    place: float
    confidence: float

    @property
    def value(self) -> float:
        """The product."""
        return self.size * self.place * self.confidence

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        numbers = {"size": self.size, "place": self.place, "confidence": self.confidence}
        return {**{name: round(number, 6) for name, number in numbers.items()}, "value": round(self.value, 4)}


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the photo worth a search. `found_by` is detector, user (a box that was given) or whole (the photo).

    `is_main` marks the photo's main object; `prominence` says why it is or is not, and is None where nothing was
    weighed: for the user's own box, and for the whole photo, which is the main object when nothing in it stands out.
    Regions compare by what they are, not by how they were judged.
    """

    box: Box
    found_by: str
    label: str | None = None
    score: float = 1.0
    is_main: bool = field(default=False, compare=False)
    prominence: Prominence | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A word for the object, with a confidence 0..1 and who said it (detector, classifier, neighbours).

    `is_broad` says that it stands behind a finer word that goes with it: "fruit" behind "grapefruit".
    """

    tag: str
    confidence: float
    sources: tuple[str, ...] = ()
    is_broad: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        sources = list(self.sources)
        return {
            "tag": self.tag,
            "confidence": round(self.confidence, 4),
            "sources": sources,
            "broad": self.is_broad,
        }


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour of the object: its basic name, its share 0..1 of the object, and its mean sRGB value 0..255."""

    name: str
    share: float
    rgb: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"name": self.name, "share": self.share, "rgb": list(self.rgb)}

    @classmethod
    def from_fields(cls, fields: Fields) -> Colour:
        """The record in a decoded JSON object.

        Raises:
            DecodeError: a field is missing, has another type, or a value outside its list or range.
        """
        name, share, rgb = fields.text("name"), fields.number("share"), fields.values.get("rgb")
        if name not in COLOURS:
            raise fields.wrong("name", f"one of {', '.join(COLOURS)}")
        if not 0.0 <= share <= 1.0:
            raise fields.wrong("share", "a number from 0 to 1")
        if not isinstance(rgb, list) or len(rgb) != 3 or not all(type(one) is int and 0 <= one <= 255 for one in rgb):
            raise fields.wrong("rgb", "three whole numbers from 0 to 255")
        return cls(name, share, (rgb[0], rgb[1], rgb[2]))


class Neighbour(NamedTuple):
    """An item near the query: cosine `similarity` -1..1, and which part of the item's own picture was near."""

    item_key: int  # the catalogue's own key of the item, for thumbnails and de-duplication
    item: Item
    similarity: float
    box: Box


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one object before it is understood.

    `label_scores` are (label, probability) of the classifier head, best first; `detection` is (label, score) or None.
    `colours` are those of its pixels, and pass through: whoever has no pixels is told them.
    """

    detection: tuple[str, float] | None
    label_scores: tuple[tuple[str, float], ...]
    neighbours: tuple[Neighbour, ...]
    colours: tuple[Colour, ...] = ()


@dataclass(frozen=True, slots=True)
class Understanding:
    """What the object is: its type with a confidence 0..1, its annotations and its colours, best first."""

    object_type: str
    type_confidence: float
    annotations: tuple[Annotation, ...]
    colours: tuple[Colour, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What every source is asked. `day` is today in UTC, such as 2026-01-31; empty where nothing depends on it."""

    understanding: Understanding
    neighbours: tuple[Neighbour, ...]
    limit: int  # candidates wanted from each source, at most
    locale: str = ""
    refine: str | None = None
    has_object: bool = False  # whether an object was found or shown, not the whole photo taken
    day: str = ""


class Candidate(NamedTuple):
    """An item that one source offers. `score` is 0..1, large is good, comparable within its source only."""

    item_key: int
    item: Item
    source: str
    score: float
    reason: str  # for people: "0.83 similar", "tagged hammer"


@dataclass(frozen=True, slots=True)
class Why:
    """Why a match stands where it stands.

    `score` is the source's own, `value` the same on the policy's common scale. `explored` says that chance chose the
    match; `propensity` is the chance that it had to stand in this place, given that the answer explores, else 1.
    """

    source: str
    score: float
    rule: str  # the policy's section rule, such as "food/recipes"
    policy: str  # the policy's version
    reason: str
    value: float = 0.0
    propensity: float = 1.0
    explored: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "source": self.source,
            "score": round(self.score, 4),
            "value": round(self.value, 4),
            "rule": self.rule,
            "policy": self.policy,
            "reason": self.reason,
            "propensity": round(self.propensity, 6),
            "explored": self.explored,
        }

    @classmethod
    def from_dict(cls, values: object) -> Why:
        """The record in a decoded JSON object.

        Raises:
            DecodeError: a field is missing or has another type.
        """
        fields = Fields(values, what="why")
        return cls(
            source=fields.text("source"),
            score=fields.number("score"),
            rule=fields.text("rule"),
            policy=fields.text("policy"),
            reason=fields.text("reason"),
            value=fields.number("value", 0.0),
            propensity=fields.number("propensity", 1.0),
            explored=fields.values.get("explored") is True,
        )


@dataclass(frozen=True, slots=True)
class Match:
    """One item of the answer; `score` is what it is worth on the policy's common scale 0..1."""

    item_key: int
    item: Item
    score: float
    why: Why

    @property
    def title(self) -> str:
        """The item's title."""
        return self.item.title

    @property
    def kind(self) -> str:
        """The item's kind: recipe, how_to, photo..."""
        return self.item.kind

    @property
    def link(self) -> str | None:
        """Where the item leads, if anywhere."""
        return self.item.link

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: the item's fields, with score and why."""
        return {**self.item.to_dict(), "score": round(self.score, 4), "why": self.why.to_dict()}


@dataclass(frozen=True, slots=True)
class Section:
    """A titled row of matches, best first."""

    name: str
    title: str
    matches: tuple[Match, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"name": self.name, "title": self.title, "matches": [match.to_dict() for match in self.matches]}


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object of the photo, the main one first.

    `code` is the int8 code of its embedding (dim bytes), `label_scores` what the classifier said: what an online answer
    needs (`Lens.upgrade`). `decision` says how the sections came about: where it was asked for, and where chance had a
    part in them. The three are not part of the JSON.
    """

    region: Region
    understanding: Understanding
    sections: tuple[Section, ...]
    code: bytes = field(default=b"", repr=False)
    label_scores: tuple[tuple[str, float], ...] = field(default=(), repr=False)
    decision: Decision | None = field(default=None, repr=False, compare=False)

    @property
    def box(self) -> Box:
        """Where it is in the upright photo."""
        return self.region.box

    @property
    def type(self) -> str:
        """The object type, such as food."""
        return self.understanding.object_type

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """Words for the object, best first."""
        return self.understanding.annotations

    @property
    def colours(self) -> tuple[Colour, ...]:
        """The object's colours, the largest share first."""
        return self.understanding.colours

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "box": self.box.to_list(),
            "found_by": self.region.found_by,
            "label": self.region.label,
            "score": round(self.region.score, 4),
            "main": self.region.is_main,
            "prominence": None if self.region.prominence is None else self.region.prominence.to_dict(),
            "type": self.type,
            "type_confidence": round(self.understanding.type_confidence, 4),
            "annotations": [note.to_dict() for note in self.annotations],
            "colours": [colour.to_dict() for colour in self.colours],
            "sections": [section.to_dict() for section in self.sections],
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the catalogue could be searched: packs `held` of packs `known`."""

    held: int
    known: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.held >= self.known


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A source that did not take part in the answer, and why: it was late, or else it failed."""

    source: str
    reason: str
    is_late: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"source": self.source, "reason": self.reason, "late": self.is_late}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one photo.

    `image_size` is the upright photo's (width, height) in pixels; `as_of` is when the `release` was made, ISO 8601;
    `packs` are those searched; `index` is the kind that answered; `timings_ms` are milliseconds by step; `refine` is
    what was asked for in words. `can_improve` says whether an online answer could be better (`Lens.upgrade`).
    """

    request_id: str
    image_size: tuple[int, int]
    objects: tuple[FoundObject, ...]
    as_of: str
    policy: str
    index: str
    packs: tuple[str, ...]
    served_by: str = "device"
    release: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    refine: str = ""
    coverage: Coverage = Coverage(0, 0)
    left_out: tuple[LeftOut, ...] = ()
    can_improve: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "request_id": self.request_id,
            "served_by": self.served_by,
            "as_of": self.as_of,
            "release": self.release,
            "policy": self.policy,
            "index": self.index,
            "packs": list(self.packs),
            "coverage": {"held": self.coverage.held, "known": self.coverage.known},
            "can_improve": self.can_improve,
            "left_out": [one.to_dict() for one in self.left_out],
            "refine": self.refine,
            "image_size": list(self.image_size),
            "timings_ms": {step: round(value, 3) for step, value in self.timings_ms.items()},
            "objects": [found.to_dict() for found in self.objects],
        }
