"""Which items a pack holds: rules, kept in the database."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlens.errors import DecodeError, HandlensError
from handlens.wire.fields import Fields, load_object
from handlens.wire.item import KINDS, OBJECT_TYPES, Item
from handlens_server.tables import PackRule

__all__ = ["PackError", "Rule", "define_pack", "is_private", "pack_rules", "remove_pack"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_FORMAT = 1


_PRIVATE = "partner:"  # what audiences of partners' own items begin with


class PackError(HandlensError):
    """A pack cannot be defined, or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An item is in the pack when it passes every field that is not empty.

    It passes `tags` with any of them, a `locale` with the same or none, an `audience` with the same or "all". A
    partner's own item passes only where its audience is named (`is_private`). `top`
    keeps the items of best quality; of equals those with the smaller id.

    Raises:
        PackError: a value cannot work.
    """

    types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    locale: str = ""
    audience: str = ""
    top: int | None = None

    def __post_init__(self) -> None:
        for name, values, allowed in (("type", self.types, OBJECT_TYPES), ("kind", self.kinds, KINDS)):
            for value in values:
                if value not in allowed:
                    raise PackError(f"there is no {name} {value!r}: choose among {', '.join(allowed)}")
        if self.top is not None and self.top < 1:
            raise PackError(f"top is {self.top}: give a number of items from 1 on")

    def matches(self, item: Item) -> bool:
        """Whether the item passes; `top` is for the caller to apply."""
        return (
            (not self.types or item.object_type in self.types)
            and (not self.kinds or item.kind in self.kinds)
            and (not self.tags or any(tag in item.annotations for tag in self.tags))
            and (not self.locale or item.locale in (self.locale, self.locale.partition("-")[0], ""))
            and (item.audience in (self.audience, "all") if self.audience else not is_private(item.audience))
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; empty fields are left out."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"format": _FORMAT, **{name: value for name, value in kept.items() if value}}

    @classmethod
    def from_json(cls, text: str) -> Rule:
        """Read a rule.

        Raises:
            DecodeError: malformed.
        """
        fields = Fields(load_object(text, what="pack rule"), what="pack rule")
        fields.require_format(_FORMAT)
        lists = {name: fields.strings(name) for name in ("types", "kinds", "tags") if name in fields.values}
        return cls(
            **lists,
            locale=fields.text("locale", ""),
            audience=fields.text("audience", ""),
            top=fields.integer("top") if "top" in fields.values else None,
        )


def is_private(audience: str) -> bool:
    """Whether items of this audience are a partner's own: nobody sees them who does not name it."""
    return audience.startswith(_PRIVATE)


def define_pack(session: Session, name: str, rule: Rule) -> bool:
    """Set the rule of a pack; returns whether the pack is new.

    Raises:
        PackError: the name cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise PackError(f"pack name {name!r} cannot be used: give at most 41 lower-case letters, digits and '-'")
    row = session.get(PackRule, name)
    text = json.dumps(rule.to_dict(), sort_keys=True)
    if row is None:
        session.add(PackRule(name=name, rule=text))
        return True
    row.rule = text
    return False


def remove_pack(session: Session, name: str) -> None:
    """Forget a pack: the next release is without it, and devices remove it.

    Raises:
        PackError: there is no such pack.
    """
    row = session.get(PackRule, name)
    if row is None:
        known = ", ".join(session.scalars(select(PackRule.name).order_by(PackRule.name))) or "none"
        raise PackError(f"there is no pack {name!r}: there are {known}")
    session.delete(row)


def pack_rules(session: Session) -> dict[str, Rule]:
    """Every pack with its rule, by name.

    Raises:
        PackError: a rule in the database cannot be read.
    """
    rules = {}
    for row in session.scalars(select(PackRule).order_by(PackRule.name)):
        try:
            rules[row.name] = Rule.from_json(row.rule)
        except DecodeError as error:
            raise PackError(f"the rule of pack {row.name!r} cannot be read ({error}): define it again") from error
    return rules
