"""The blending policy: which sections an answer has, by object type and confidence, as data that a release carries.

::

    {"format": 2, "version": "2",
     "bands": [{"name": "sure", "from": 0.7}, {"name": "likely", "from": 0.4},
               {"name": "unsure", "from": 0, "use": "default"}],
     "gates": {"annotation": 0.25},
     "scores": {"visual": {"curve": "logistic", "midpoint": 0.6, "slope": 9}},
     "other_type": {"visual": 0.5, "object": 0.5},
     "diversity": {"max_per_group": 2, "lambda": 0.8, "window": 24, "alike": {"tags": 0.6, "title": 0.4}},
     "freshness": {"half_life_days": {"product": 365}, "floor": 0.6},
     "locale": {"unmarked": 0.95, "other": 0}, "audiences": {"all": ["all"]},
     "exploration": {"answers": 0.05, "slots": 0.34, "pool": 20, "salt": "2026-01"},
     "types": {"food": {"reason": "...", "fallback": "default", "bands": {"likely": {"shares": {"recipes": 1}}},
         "sections": [{"name": "recipes", "title": "Recipes", "tagged_title": "Recipes with {tag}",
          "sources": ["annotation"], "kinds": ["recipe"], "share": 1, "min_score": 0.1,
          "needs": {"annotation": 0.4}}]}},
     "default": {"sections": [...]},
     "fallback": {"name": "closest", "title": "The closest we have"},
     "picks": [{"item_id": "pie", "types": ["food"], "tags": [], "from": "2026-01-01", "until": null}]}

Rules:

1. A layout (a type's, or the default's) has its sections in the order of the answer. ``share`` is the part of the
   answer's places that a section may claim before the others; shares of one list add up to 1. A type that is not named
   has the default's layout.
2. The band of an answer is the first whose ``from`` the confidence in the type reaches. In a band, a layout may have
   other shares, or other sections; a band that names a layout to ``use`` has that one for every type that says nothing
   of its own about the band.
3. ``scores`` maps each source's scores to one scale 0..1, the chance that an offer helps; ``min_score`` is on it.
   ``other_type`` is what is left of a source's offer that is of another type than the object, if that is certain.
   ``needs`` closes a section while the type, or the first word, is less sure.
4. When no section of a layout wants any candidate its ``fallback`` is asked, "default" unless it says otherwise; null
   ends the chain, and the section ``fallback`` of the policy shows the best candidates there are.
5. Fields that this version does not know are kept in `Policy.raw`. Format 1 is read as what it means in format 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlens.blend.curves import SOURCES, Curve, read_curves
from handlens.blend.layouts import Band, Layout, Rule, read_bands, read_layouts
from handlens.blend.migrate import FORMAT, migrated
from handlens.blend.reading import (
    at_least_one,
    day,
    filled,
    fraction,
    named,
    nested,
    optional_texts,
    refuse_types,
)
from handlens.errors import DecodeError
from handlens.wire.fields import Fields, load_object
from handlens.wire.item import KINDS

__all__ = ["Diversity", "Exploration", "Fallback", "Freshness", "Gates", "Languages", "Pick", "Policy"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Confidences 0..1 below which a type, or a word, is not acted upon.

    A word below it is neither searched nor named in a title; a type below it is in a band that uses another layout.
    """

    type: float
    annotation: float


@dataclass(frozen=True, slots=True)
class Fallback:
    """The section shown when there are candidates but no layout wants any of them."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Diversity:
    """How alike the items of a section may be.

    `trade_off` is lambda of maximal marginal relevance, 1: only the score counts. `window` is how many of the best
    candidates of a section compete for its next place. `tags`, `title` and `kind` say what makes two items alike.
    """

    max_per_group: int
    trade_off: float = 1.0
    window: int = 24
    tags: float = 0.6
    title: float = 0.4
    kind: float = 0.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """Kinds that age, with their half-lives in days; what is left of the oldest item's score is `floor`."""

    half_life_days: Mapping[str, float]
    floor: float


@dataclass(frozen=True, slots=True)
class Languages:
    """Factors of the score of items of no language, and of another language than the user's (0: left out)."""

    unmarked: float = 1.0
    other: float = 1.0


@dataclass(frozen=True, slots=True)
class Exploration:
    """Which part of the answers explores, and with which part of each section's places; see `handlens.blend.explore`.

    `pool` is how many candidates a section draws from; another `salt` draws other answers.
    """

    answers: float = 0.0
    slots: float = 0.0
    pool: int = 20
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Pick:
    """An item that editors chose for object types or for tags, from the day `starts` to the day `ends`, both included.

    Days are ISO 8601, such as 2026-01-31; an empty one is open. A pick without types and tags is for everything.
    """

    item_id: str
    types: tuple[str, ...]
    tags: tuple[str, ...]
    starts: str = ""
    ends: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy. `layouts` maps an object type, or "default", to its sections; None as `audiences`: no gate."""

    version: str
    bands: tuple[Band, ...]
    layouts: Mapping[str, Layout]
    gates: Gates
    curves: Mapping[str, Curve]
    other_type: Mapping[str, float]
    diversity: Diversity
    freshness: Freshness
    languages: Languages
    audiences: Mapping[str, tuple[str, ...]] | None
    exploration: Exploration
    fallback: Fallback
    picks: tuple[Pick, ...]
    raw: Mapping[str, Any]

    @property
    def types(self) -> dict[str, tuple[Rule, ...]]:
        """The sections of each type that has its own, when it is sure."""
        return {name: layout.sections for name, layout in self.layouts.items() if name != "default"}

    @property
    def default(self) -> tuple[Rule, ...]:
        """The default's sections."""
        return self.layouts["default"].sections

    @property
    def max_per_group(self) -> int:
        """How many items of one group of near-duplicates an answer may show."""
        return self.diversity.max_per_group

    def band(self, confidence: float) -> Band:
        """The band of a confidence 0..1 in the type."""
        return next((one for one in self.bands if confidence >= one.least), self.bands[-1])

    def rules(self, object_type: str, confidence: float) -> tuple[Rule, ...]:
        """The sections for a type understood with this confidence."""
        return next(self.chain(object_type, confidence))[1]

    def chain(self, object_type: str, confidence: float) -> Iterator[tuple[str, tuple[Rule, ...]]]:
        """The layouts to try, in order, each with its sections in the band of this confidence."""
        band = self.band(confidence)
        name: str | None = object_type if object_type in self.layouts else "default"
        if band.use is not None and band.name not in self.layouts[str(name)].bands:
            name = band.use
        while name is not None:
            layout = self.layouts[name]
            yield name, layout.bands.get(band.name, layout.sections)
            name = layout.fallback

    @classmethod
    def from_json(cls, text: str | bytes) -> Policy:
        """Read a `policy.json`.

        Raises:
            DecodeError: malformed, a newer format, or a rule that cannot be followed (unknown source, kind or type,
                shares that do not add up to 1, gates that contradict each other, fallbacks that go in a circle...);
                the message gives the path of the fault.
        """
        fields = Fields(migrated(load_object(text, what="policy")), what="policy")
        fields.require_format(FORMAT)
        bands, curves = read_bands(fields), read_curves(fields)
        gates = _gates(fields.mapping("gates"), bands)
        return cls(
            version=filled(fields, "version"),
            bands=bands,
            layouts=read_layouts(fields, bands, curves, gates.annotation),
            gates=gates,
            curves=curves,
            other_type=_by_source(nested(fields, "other_type")),
            diversity=_diversity(fields.mapping("diversity")),
            freshness=_freshness(nested(fields, "freshness")),
            languages=_languages(nested(fields, "locale")),
            audiences=_audiences(fields),
            exploration=_exploration(nested(fields, "exploration")),
            fallback=_fallback(fields.mapping("fallback")),
            picks=_picks(fields),
            raw=fields.values,
        )


_EVEN, _NEVER = Diversity(max_per_group=1), Exploration()  # what a policy that says nothing of it has


def _gates(fields: Fields, bands: Sequence[Band]) -> Gates:
    if "type" in fields.values:
        raise DecodeError(f"{fields.what}.type belongs to format 1 and contradicts policy.bands: say it in the bands")
    acted_upon = min((band.least for band in bands if band.use is None), default=1.0)
    return Gates(type=acted_upon, annotation=fraction(fields, "annotation"))


def _fallback(fields: Fields) -> Fallback:
    return Fallback(named(fields, "name"), filled(fields, "title"))


def _diversity(fields: Fields) -> Diversity:
    alike = nested(fields, "alike")
    shares = {name: fraction(alike, name, getattr(_EVEN, name)) for name in ("tags", "title", "kind")}
    if sum(shares.values()) > 1.0 + 1e-9:
        raise DecodeError(f"{alike.what} has parts that add up to {sum(shares.values()):g}: expected at most 1")
    return Diversity(
        max_per_group=at_least_one(fields, "max_per_group"),
        trade_off=fraction(fields, "lambda", 1.0),
        window=at_least_one(fields, "window", _EVEN.window),
        **shares,
    )


def _by_source(fields: Fields) -> dict[str, float]:
    for name in fields.values:
        if name not in SOURCES:
            raise DecodeError(f"{fields.what}.{name} is no source: expected one of {', '.join(SOURCES)}")
    return {name: fraction(fields, name) for name in fields.values}


def _freshness(fields: Fields) -> Freshness:
    lives = nested(fields, "half_life_days")
    for kind in lives.values:
        if kind not in KINDS:
            raise DecodeError(f"{lives.what}.{kind} is no kind of item: expected one of {', '.join(KINDS)}")
        if lives.number(kind) <= 0:
            raise lives.wrong(kind, "days above 0")
    return Freshness({kind: lives.number(kind) for kind in lives.values}, fraction(fields, "floor", 0.0))


def _languages(fields: Fields) -> Languages:
    found = Languages(fraction(fields, "unmarked", 1.0), fraction(fields, "other", 1.0))
    if found.other > found.unmarked:
        raise DecodeError(
            f"{fields.what}.other is {found.other:g}, more than unmarked ({found.unmarked:g}): "
            "an item in another language cannot suit better than one in none"
        )
    return found


def _audiences(fields: Fields) -> dict[str, tuple[str, ...]] | None:
    if fields.values.get("audiences") is None:
        return None
    table = fields.mapping("audiences")
    for name in table.values:
        if not table.strings(name):
            raise table.wrong(name, "at least one audience whose items are shown")
    return {name: table.strings(name) for name in table.values}


def _exploration(fields: Fields) -> Exploration:
    return Exploration(
        answers=fraction(fields, "answers", 0.0),
        slots=fraction(fields, "slots", 0.0),
        pool=at_least_one(fields, "pool", _NEVER.pool),
        salt=fields.text("salt", ""),
    )


def _picks(fields: Fields) -> tuple[Pick, ...]:
    return tuple(_pick(one) for one in fields.records("picks")) if fields.values.get("picks") is not None else ()


def _pick(fields: Fields) -> Pick:
    pick = Pick(
        item_id=filled(fields, "item_id"),
        types=optional_texts(fields, "types"),
        tags=optional_texts(fields, "tags"),
        starts=day(fields, "from"),
        ends=day(fields, "until"),
    )
    refuse_types(pick.types, f"{fields.what}.types")
    if pick.ends and pick.starts > pick.ends:
        raise DecodeError(f"{fields.what}.until is before {fields.what}.from: the pick would never be shown")
    return pick
