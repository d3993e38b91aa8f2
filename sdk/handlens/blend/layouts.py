"""Layouts: the sections of a type, by confidence band, read from a policy and checked against each other.

Contradictions are refused, because a section that can never be shown is a mistake that nobody would see: a band that is
never reached, a section whose needs its band cannot meet or whose minimum no score reaches, a word gate below the one
that holds for all, fallbacks that go in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from handlens.blend.curves import SOURCES, Curve, highest
from handlens.blend.reading import filled, fraction, named, nested, refuse_repeats, refuse_types, some_of
from handlens.errors import DecodeError
from handlens.wire.fields import Fields
from handlens.wire.item import KINDS

__all__ = ["Band", "Layout", "Rule", "read_bands", "read_layouts"]

DEFAULT = "default"
_SHARE_ERROR = 1e-6  # shares are written in decimal: 0.1 + 0.2 must count as 0.3


@dataclass(frozen=True, slots=True)
class Rule:
    """One section. `rule_id` names it in a `Why`, such as "food/recipes"; `tagged_title` holds ``{tag}`` or is None.

    `needs_type` and `needs_annotation` are confidences 0..1 below which the section stays closed.
    """

    rule_id: str
    name: str
    title: str
    tagged_title: str | None
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    share: float
    min_score: float
    needs_type: float = 0.0
    needs_annotation: float = 0.0


@dataclass(frozen=True, slots=True)
class Band:
    """Confidences in the type of at least `least`, up to the band before; `use` names the layout of every type."""

    name: str
    least: float
    use: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The sections of a type; `bands` holds those of bands with other ones; `fallback` the next layout, if any."""

    sections: tuple[Rule, ...]
    bands: Mapping[str, tuple[Rule, ...]]
    fallback: str | None
    reason: str = ""


def read_bands(policy: Fields) -> tuple[Band, ...]:
    """The bands, surest first; one band over all where the policy names none.

    Raises:
        DecodeError: they do not fall, do not end at 0, repeat a name, or use a layout that is not there.
    """
    if policy.values.get("bands") is None:
        return (Band("any", 0.0),)
    records = policy.records("bands")
    bands = tuple(Band(named(one, "name"), fraction(one, "from"), one.optional_text("use")) for one in records)
    if not bands:
        raise policy.wrong("bands", "at least one band")
    refuse_repeats([band.name for band in bands], f"{policy.what}.bands", "bands")
    for at, (before, band) in enumerate(pairwise(bands), start=1):
        if band.least >= before.least:
            raise records[at].wrong("from", f"less than the {before.least:g} of the band before: it is never reached")
    if bands[-1].least != 0.0:
        raise records[-1].wrong("from", "0: the last band takes every confidence that is left")
    for record, band in zip(records, bands, strict=True):
        if band.use is not None and band.use != DEFAULT and band.use not in policy.mapping("types").values:
            raise record.wrong("use", "default, or a type that has sections of its own")
    return bands


def read_layouts(
    policy: Fields, bands: Sequence[Band], curves: Mapping[str, Curve], word_gate: float
) -> dict[str, Layout]:
    """The layout of each type that has its own, and "default".

    Raises:
        DecodeError: a type that the taxonomy lacks, a section that cannot be followed, or a circle of fallbacks.
    """
    types = policy.mapping("types")
    refuse_types(types.values, types.what)
    places = {name: types.mapping(name) for name in types.values} | {DEFAULT: policy.mapping(DEFAULT)}
    layouts = {name: _layout(fields, name, bands) for name, fields in places.items()}
    for name, layout in layouts.items():
        _refuse_contradictions(places[name], layout, bands, curves, word_gate)
    _refuse_circles(places, layouts)
    return layouts


def _layout(fields: Fields, name: str, bands: Sequence[Band]) -> Layout:
    sections = _rules(fields, name)
    known = [band.name for band in bands]
    table = nested(fields, "bands")
    for band in table.values:
        if band not in known:
            raise DecodeError(f"{table.what}.{band} is no band: policy.bands has {', '.join(known)}")
        if band == known[0] and bands[0].use is None:
            raise DecodeError(f"{table.what}.{band} contradicts {fields.what}.sections, which are those of this band")
    own = {band: _band_rules(table.mapping(band), name, sections) for band in table.values}
    return Layout(sections, own, _fallback(fields, name), fields.text("reason", ""))


def _band_rules(fields: Fields, owner: str, sections: Sequence[Rule]) -> tuple[Rule, ...]:
    has_shares, has_sections = (fields.values.get(name) is not None for name in ("shares", "sections"))
    if has_shares == has_sections:
        has = "both shares and" if has_shares else "neither shares nor"
        raise DecodeError(f"{fields.what} has {has} sections: give one of them")
    if has_sections:
        return _rules(fields, owner)
    shares = fields.mapping("shares")
    names = [rule.name for rule in sections]
    if set(shares.values) != set(names):
        raise fields.wrong("shares", f"a share of each section: {', '.join(names)}")
    rules = tuple(replace(rule, share=fraction(shares, rule.name)) for rule in sections)
    _refuse_sum(rules, shares.what)
    return rules


def _fallback(fields: Fields, name: str) -> str | None:
    if "fallback" not in fields.values:
        return None if name == DEFAULT else DEFAULT
    return fields.optional_text("fallback")


def _rules(fields: Fields, owner: str) -> tuple[Rule, ...]:
    rules = tuple(_rule(entry, owner) for entry in fields.records("sections"))
    if not rules:
        raise fields.wrong("sections", "at least one section")
    refuse_repeats([rule.name for rule in rules], f"{fields.what}.sections", "sections")
    _refuse_sum(rules, f"{fields.what}.sections")
    return rules


def _refuse_sum(rules: Sequence[Rule], path: str) -> None:
    total = sum(rule.share for rule in rules)
    if abs(total - 1.0) > _SHARE_ERROR:
        raise DecodeError(f"{path} have shares that add up to {total:g}: expected 1")


def _rule(fields: Fields, owner: str) -> Rule:
    name, needs = named(fields, "name"), nested(fields, "needs")
    return Rule(
        rule_id=f"{owner}/{name}",
        name=name,
        title=filled(fields, "title"),
        tagged_title=_tagged(fields, "tagged_title"),
        sources=some_of(fields, "sources", SOURCES),
        kinds=some_of(fields, "kinds", KINDS),
        share=fraction(fields, "share"),
        min_score=fraction(fields, "min_score", 0.0),
        needs_type=fraction(needs, "type", 0.0),
        needs_annotation=fraction(needs, "annotation", 0.0),
    )


def _tagged(fields: Fields, name: str) -> str | None:
    value = fields.optional_text(name)
    if value is not None and value.count("{tag}") != 1:
        raise fields.wrong(name, "a title with {tag} in it, once")
    return value


def _refuse_contradictions(
    fields: Fields, layout: Layout, bands: Sequence[Band], curves: Mapping[str, Curve], word_gate: float
) -> None:
    _refuse_gates(layout.sections, fields.what, curves, word_gate)
    for name, rules in layout.bands.items():
        path = f"{fields.what}.bands.{name}"
        _refuse_gates(rules, path, curves, word_gate)
        at = [band.name for band in bands].index(name)
        if at > 0:
            _refuse_unmet(rules, path, bands[at - 1].least)


def _refuse_gates(rules: Sequence[Rule], path: str, curves: Mapping[str, Curve], word_gate: float) -> None:
    for at, rule in enumerate(rules):
        where, most = f"{path}.sections[{at}]", max(highest(curves, source) for source in rule.sources)
        if rule.min_score > most:
            raise DecodeError(
                f"{where}.min_score is {rule.min_score:g}, but no score of its sources becomes more than {most:g} "
                "by policy.scores: it would stay empty"
            )
        if 0.0 < rule.needs_annotation < word_gate:
            raise DecodeError(
                f"{where}.needs.annotation is {rule.needs_annotation:g}, below policy.gates.annotation ({word_gate:g}):"
                " words that weak are never searched"
            )


def _refuse_unmet(rules: Sequence[Rule], path: str, end: float) -> None:
    for at, rule in enumerate(rules):
        if rule.needs_type >= end and rule.share > 0.0:
            raise DecodeError(
                f"{path}.sections[{at}].needs.type is {rule.needs_type:g}, but the band ends at {end:g}: "
                f"give section {rule.name!r} no share there, or let it need less"
            )


def _refuse_circles(places: Mapping[str, Fields], layouts: Mapping[str, Layout]) -> None:
    for name, fields in places.items():
        following = layouts[name].fallback
        if following is not None and following not in layouts:
            raise fields.wrong("fallback", f"null or one of {', '.join(sorted(layouts))}")
    for name, fields in places.items():
        walk = [name]
        while (following := layouts[walk[-1]].fallback) is not None:
            walk.append(following)
            if walk.count(following) > 1:
                raise DecodeError(f"{fields.what}.fallback goes in a circle: {' -> '.join(walk)}")
