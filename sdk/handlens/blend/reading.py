"""Checked reading of a policy's fields; every refusal says where the fault is and what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from handlens.errors import DecodeError
from handlens.wire.fields import Fields
from handlens.wire.item import OBJECT_TYPES

__all__ = [
    "at_least_one",
    "day",
    "filled",
    "fraction",
    "named",
    "nested",
    "optional_texts",
    "refuse_repeats",
    "refuse_types",
    "some_of",
]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def nested(fields: Fields, name: str) -> Fields:
    """A nested object that may be null or absent."""
    return Fields({}, what=f"{fields.what}.{name}") if fields.values.get(name) is None else fields.mapping(name)


def filled(fields: Fields, name: str) -> str:
    """A text that says something."""
    value = fields.text(name)
    if not value.strip():
        raise fields.wrong(name, "some text")
    return value


def named(fields: Fields, name: str) -> str:
    """A name that ids are made of."""
    value = fields.text(name)
    if not _NAME.fullmatch(value):
        raise fields.wrong(name, "at most 40 lower-case letters, digits, - and _, a letter first")
    return value


def some_of(fields: Fields, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """One or more of `allowed`, each once."""
    values = fields.strings(name)
    if not values or len(set(values)) != len(values) or not set(values) <= set(allowed):
        raise fields.wrong(name, f"one or more of {', '.join(allowed)}, each once")
    return values


def optional_texts(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of strings that may be null or absent."""
    return () if fields.values.get(name) is None else fields.strings(name)


def fraction(fields: Fields, name: str, default: float | None = None) -> float:
    """A number 0..1."""
    value = fields.number(name, default)
    if not 0.0 <= value <= 1.0:
        raise fields.wrong(name, "a number from 0 to 1")
    return value


def at_least_one(fields: Fields, name: str, default: int | None = None) -> int:
    """A whole number above 0."""
    value = fields.integer(name, default)
    if value < 1:
        raise fields.wrong(name, "a whole number of at least 1")
    return value


def day(fields: Fields, name: str) -> str:
    """A date such as 2026-01-31; empty where it is null or absent."""
    value = fields.optional_text(name)
    if value is None:
        return ""
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass  # no such day: refused like any other text
    raise fields.wrong(name, "a date such as 2026-01-31, or null")


def refuse_repeats(names: Iterable[str], path: str, what: str) -> None:
    """Refuse a name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DecodeError(f"{path} has two {what} named {name!r}: give each a name of its own")
        seen.add(name)


def refuse_types(names: Iterable[str], path: str) -> None:
    """Refuse what is no object type of the taxonomy."""
    for name in names:
        if name not in OBJECT_TYPES:
            raise DecodeError(f"{path}.{name} is no object type: expected one of {', '.join(OBJECT_TYPES)}")
