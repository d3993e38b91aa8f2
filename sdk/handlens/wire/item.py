"""An item: anything worth showing, as the catalogue, the packs and the results carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlens.wire.fields import Fields

__all__ = ["KINDS", "OBJECT_TYPES", "Item"]

KINDS = ("article", "how_to", "idea", "photo", "place", "product", "recipe")
OBJECT_TYPES = (
    "food", "fashion", "beauty", "home", "plant", "animal", "vehicle", "electronics", "tool", "art", "place", "media",
    "toy", "sport", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One catalogue item.

    `annotations` maps a lower-case tag to its weight 0..1; `quality` is 0..1; `created_at` is ISO 8601, UTC;
    `image` is a path or URL, or None for an item without a picture; `group_id` joins near-duplicates;
    `extra` keeps fields of newer versions.
    """

    item_id: str
    kind: str
    object_type: str
    title: str
    text: str = ""
    link: str | None = None
    image: str | None = None
    annotations: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    locale: str = ""
    audience: str = "all"
    group_id: str | None = None
    quality: float = 0.5
    created_at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, unknown fields included; empty fields are left out."""
        known = {name: getattr(self, name) for name in _FIELDS}
        kept = {name: value for name, value in known.items() if value not in (None, "", {})}
        for name in ("annotations", "attributes"):
            if name in kept:
                kept[name] = dict(kept[name])
        return {**self.extra, **kept}

    @classmethod
    def from_dict(cls, values: object) -> Item:
        """The item in a decoded JSON object.

        Raises:
            DecodeError: a field is missing, has another type, or a value outside its list or range.
        """
        fields = Fields(values, what="item")
        item_id = fields.text("item_id")
        fields.what = f"item {item_id!r}"
        return cls(
            item_id=_filled(fields, "item_id"),
            kind=_one_of(fields, "kind", KINDS),
            object_type=_one_of(fields, "object_type", OBJECT_TYPES),
            title=_filled(fields, "title"),
            text=fields.text("text", ""),
            link=fields.optional_text("link"),
            image=fields.optional_text("image"),
            annotations=_weights(fields.mapping("annotations", {})),
            attributes=dict(fields.mapping("attributes", {}).values),
            locale=fields.text("locale", ""),
            audience=fields.text("audience", "all"),
            group_id=fields.optional_text("group_id"),
            quality=_fraction(fields, "quality", 0.5),
            created_at=fields.text("created_at", ""),
            extra=fields.unknown(frozenset(_FIELDS)),
        )


_FIELDS = (
    "item_id", "kind", "object_type", "title", "text", "link", "image", "annotations", "attributes", "locale",
    "audience", "group_id", "quality", "created_at",
)  # fmt: skip


def _filled(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not value.strip():
        raise fields.wrong(name, "some text")
    return value


def _one_of(fields: Fields, name: str, allowed: tuple[str, ...]) -> str:
    value = fields.text(name)
    if value not in allowed:
        raise fields.wrong(name, f"one of {', '.join(allowed)}")
    return value


def _fraction(fields: Fields, name: str, default: float | None = None) -> float:
    value = fields.number(name, default)
    if not 0.0 <= value <= 1.0:
        raise fields.wrong(name, "a number from 0 to 1")
    return value


def _weights(fields: Fields) -> dict[str, float]:
    return {tag: _fraction(fields, tag) for tag in fields.values}
