"""An exposure: what a search showed for its main object, with what chance, and what it was chosen from.

It rides in the event of a search, and is what a new policy can be scored by before it is released (counterfactual
estimation; ``handlens-server policy replay``).

Rules:

1. `places` stand in the order in which the answer is read. `propensity` is the chance that this item had to stand in
   this place given that the answer explores, in (0, 1]; an answer that does not explore has none below 1.
2. `offers` are all that the sources offered, with their scores, and only of an answer that explores. Two hundred
   likenesses to known pictures say as much as the embedding itself, so they go only where the embedding may go.

::

    {"policy":"2","explores":true,"type_confidence":0.93,"words":[["grapefruit",0.81]],"limit":12,
     "places":[["pie","food/recipes",1,false],["tart","food/recipes",0.05,true]],"offers":[["pie","annotation",0.62]]}
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from handlens.errors import DecodeError
from handlens.wire.fields import Fields

__all__ = ["MAX_OFFERS", "Exposure", "Offer", "ShownPlace"]

MAX_OFFERS = 400
_MAX_TEXT = 200  # characters of an id, a rule or a word


@dataclass(frozen=True, slots=True)
class ShownPlace:
    """An item in its place; `rule` is the section's, such as "food/recipes"; `explored`: chance chose it."""

    item_id: str
    rule: str
    propensity: float = 1.0
    explored: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source offered; `score` is the source's own, 0..1."""

    item_id: str
    source: str
    score: float


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was shown, by which policy, for an object understood how."""

    policy: str
    explores: bool
    type_confidence: float
    words: tuple[tuple[str, float], ...]
    limit: int
    places: tuple[ShownPlace, ...]
    offers: tuple[Offer, ...] = ()

    def without_offers(self) -> Exposure:
        """The same without what it was chosen from."""
        return replace(self, offers=())

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        values: dict[str, Any] = {
            "policy": self.policy,
            "explores": self.explores,
            "type_confidence": self.type_confidence,
            "words": [list(word) for word in self.words],
            "limit": self.limit,
            "places": [[one.item_id, one.rule, one.propensity, one.explored] for one in self.places],
        }
        if self.offers:
            values["offers"] = [[one.item_id, one.source, one.score] for one in self.offers]
        return values

    @classmethod
    def from_dict(cls, values: object, *, what: str) -> Exposure:
        """The record in a decoded JSON object.

        Raises:
            DecodeError: a field is missing, has another type, or a propensity outside (0, 1].
        """
        fields = Fields(values, what=what)
        exposure = cls(
            policy=_short(fields.text("policy"), what),
            explores=_boolean(fields.values.get("explores"), what),
            type_confidence=_fraction(fields.number("type_confidence"), what),
            words=tuple((_short(row[0], what), _fraction(row[1], what)) for row in _rows(fields, "words", 2)),
            limit=fields.integer("limit"),
            places=tuple(_place(row, what) for row in _rows(fields, "places", 4)),
            offers=tuple(
                Offer(_short(row[0], what), _short(row[1], what), _fraction(row[2], what))
                for row in (_rows(fields, "offers", 3) if "offers" in fields.values else ())
            ),
        )
        if exposure.limit < 1 or len(exposure.places) > _MAX_TEXT:
            raise DecodeError(f"{what} has a limit of {exposure.limit} and {len(exposure.places)} places")
        return exposure


def _place(row: list[Any], what: str) -> ShownPlace:
    propensity = _fraction(row[2], what)
    if propensity == 0.0:
        raise DecodeError(f"{what}.places has a propensity of 0: what was shown had some chance to be")
    return ShownPlace(_short(row[0], what), _short(row[1], what), propensity, _boolean(row[3], what))


def _rows(fields: Fields, name: str, width: int) -> list[list[Any]]:
    rows = fields.values.get(name)
    fits = isinstance(rows, list) and all(isinstance(row, list) and len(row) == width for row in rows)
    if not isinstance(rows, list) or not fits or len(rows) > MAX_OFFERS:
        raise fields.wrong(name, f"at most {MAX_OFFERS} lists of {width}")
    return rows


def _short(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise DecodeError(f"{what} has {repr(value)[:80]} where a text of at most {_MAX_TEXT} characters belongs")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DecodeError(f"{what} has text that is not Unicode") from error
    return value


def _fraction(value: object, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise DecodeError(f"{what} has {repr(value)[:80]} where a number from 0 to 1 belongs")
    return float(value)


def _boolean(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise DecodeError(f"{what} has {repr(value)[:80]} where true or false belongs")
    return value
