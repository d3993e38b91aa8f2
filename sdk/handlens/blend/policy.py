"""The blending policy: which sections an answer has, by object type, as data that a release carries.

::

    {"format": 1, "version": "1",
     "gates": {"type": 0.4, "annotation": 0.25},
     "diversity": {"max_per_group": 2},
     "types": {"food": {"reason": "...", "sections": [
         {"name": "recipes", "title": "Recipes", "tagged_title": "Recipes with {tag}", "sources": ["annotation"],
          "kinds": ["recipe"], "share": 0.4, "min_score": 0.1}, ...]}, ...},
     "default": {"sections": [...]},
     "fallback": {"name": "closest", "title": "The closest we have"}}

Sections stand in the order of the answer. ``share`` is the part of the answer's places that a section may claim before
the others; shares of one type add up to 1. ``min_score`` is on the sources' scale 0..1. A type without sections of its
own, and any type understood with less confidence than ``gates.type``, gets the default's. Words understood with less
confidence than ``gates.annotation`` are neither searched nor named in a title. Fields that this version does not know
are kept in `Policy.raw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from handlens.errors import DecodeError
from handlens.wire.fields import Fields, load_object
from handlens.wire.item import KINDS, OBJECT_TYPES

__all__ = ["SOURCES", "Fallback", "Gates", "Pick", "Policy", "Rule"]

SOURCES = ("annotation", "curated", "object", "visual")
_FORMAT = 1
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_SHARE_ERROR = 1e-6  # shares are written in decimal: 0.1 + 0.2 must count as 0.3


@dataclass(frozen=True, slots=True)
class Rule:
    """One section. `rule_id` names it in a `Why`, such as "food/recipes"; `tagged_title` holds ``{tag}`` or is None."""

    rule_id: str
    name: str
    title: str
    tagged_title: str | None
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    share: float
    min_score: float


@dataclass(frozen=True, slots=True)
class Gates:
    """Confidences 0..1 below which a type, or a word, is not acted upon."""

    type: float
    annotation: float


@dataclass(frozen=True, slots=True)
class Fallback:
    """The section shown when there are candidates but no rule wants any of them."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Pick:
    """An item that editors chose for object types or for tags, from the day `starts` to the day `ends` (ISO 8601).

    An empty day is open. A pick without types and tags is for everything.
    """

    item_id: str
    types: tuple[str, ...]
    tags: tuple[str, ...]
    starts: str
    ends: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy. `types` maps an object type to its sections, in the order of the answer."""

    version: str
    types: Mapping[str, tuple[Rule, ...]]
    default: tuple[Rule, ...]
    gates: Gates
    max_per_group: int
    fallback: Fallback
    raw: Mapping[str, Any]
    picks: tuple[Pick, ...] = ()

    def rules(self, object_type: str, confidence: float) -> tuple[Rule, ...]:
        """The sections for a type understood with this confidence."""
        return self.default if confidence < self.gates.type else self.types.get(object_type, self.default)

    @classmethod
    def from_json(cls, text: str | bytes) -> Policy:
        """Read a `policy.json`.

        Raises:
            DecodeError: malformed, a newer format, or a rule that cannot be followed (unknown source, kind or type,
                shares that do not add up to 1, a value outside 0..1...); the message gives the path of the fault.
        """
        fields = Fields(load_object(text, what="policy"), what="policy")
        fields.require_format(_FORMAT)
        fallback = fields.mapping("fallback")
        return cls(
            version=_filled(fields, "version"),
            types=_types(fields.mapping("types")),
            default=_rules(fields.mapping("default"), "default"),
            gates=_gates(fields.mapping("gates")),
            max_per_group=_at_least_one(fields.mapping("diversity"), "max_per_group"),
            fallback=Fallback(_name(fallback, "name"), _filled(fallback, "title")),
            raw=fields.values,
        )


def _types(fields: Fields) -> dict[str, tuple[Rule, ...]]:
    for name in fields.values:
        if name not in OBJECT_TYPES:
            raise DecodeError(f"{fields.what}.{name} is no object type: expected one of {', '.join(OBJECT_TYPES)}")
    return {name: _rules(fields.mapping(name), name) for name in fields.values}


def _gates(fields: Fields) -> Gates:
    return Gates(type=_fraction(fields, "type"), annotation=_fraction(fields, "annotation"))


def _rules(fields: Fields, owner: str) -> tuple[Rule, ...]:
    rules = tuple(_rule(entry, owner) for entry in fields.records("sections"))
    if not rules:
        raise fields.wrong("sections", "at least one section")
    _refuse_repeats(fields, [rule.name for rule in rules])
    total = sum(rule.share for rule in rules)
    if abs(total - 1.0) > _SHARE_ERROR:
        raise DecodeError(f"{fields.what}.sections have shares that add up to {total:g}: expected 1")
    return rules


def _rule(fields: Fields, owner: str) -> Rule:
    name = _name(fields, "name")
    return Rule(
        rule_id=f"{owner}/{name}",
        name=name,
        title=_filled(fields, "title"),
        tagged_title=_tagged(fields, "tagged_title"),
        sources=_some_of(fields, "sources", SOURCES),
        kinds=_some_of(fields, "kinds", KINDS),
        share=_fraction(fields, "share"),
        min_score=_fraction(fields, "min_score", 0.0),
    )


def _refuse_repeats(fields: Fields, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DecodeError(f"{fields.what}.sections has two sections named {name!r}: give each a name of its own")
        seen.add(name)


def _filled(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not value.strip():
        raise fields.wrong(name, "some text")
    return value


def _name(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not _NAME.fullmatch(value):
        raise fields.wrong(name, "at most 40 lower-case letters, digits, - and _, a letter first")
    return value


def _tagged(fields: Fields, name: str) -> str | None:
    value = fields.optional_text(name)
    if value is not None and value.count("{tag}") != 1:
        raise fields.wrong(name, "a title with {tag} in it, once")
    return value


def _some_of(fields: Fields, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    values = fields.strings(name)
    if not values or len(set(values)) != len(values) or not set(values) <= set(allowed):
        raise fields.wrong(name, f"one or more of {', '.join(allowed)}, each once")
    return values


def _fraction(fields: Fields, name: str, default: float | None = None) -> float:
    value = fields.number(name, default)
    if not 0.0 <= value <= 1.0:
        raise fields.wrong(name, "a number from 0 to 1")
    return value


def _at_least_one(fields: Fields, name: str) -> int:
    value = fields.integer(name)
    if value < 1:
        raise fields.wrong(name, "a whole number of at least 1")
    return value
