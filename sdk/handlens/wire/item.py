"""An item: anything worth showing, as the catalogue, the packs and the results carry it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from handlens.errors import DecodeError
from handlens.wire.fields import Fields

__all__ = ["KINDS", "OBJECT_TYPES", "Item", "in_turn"]

KINDS = ("article", "how_to", "idea", "photo", "place", "product", "recipe")
OBJECT_TYPES = (
    "food", "fashion", "beauty", "home", "plant", "animal", "vehicle", "electronics", "tool", "art", "place", "media",
    "toy", "sport", "other",
)  # fmt: skip


_T = TypeVar("_T")


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
        # A pack of 20,000 rows passes here while somebody waits: plain checks, and `Fields` only to say what is wrong.
        if not isinstance(values, dict):
            raise Fields(values, what="item").wrong("item_id", "an item")
        texts = {name: values.get(name, default) for name, default in _TEXTS.items()}
        for name, value in texts.items():
            if not isinstance(value, str) or (name in _FILLED and not value.strip()):
                raise _wrong(values, name, "some text" if name in _FILLED else "a string")
        for name in ("link", "image", "group_id"):
            texts[name] = value = values.get(name)
            if value is not None and not isinstance(value, str):
                raise _wrong(values, name, "a string")
        if texts["kind"] not in KINDS:
            raise _wrong(values, "kind", f"one of {', '.join(KINDS)}")
        if texts["object_type"] not in OBJECT_TYPES:
            raise _wrong(values, "object_type", f"one of {', '.join(OBJECT_TYPES)}")
        quality = values.get("quality", 0.5)
        if not _is_fraction(quality):
            raise _wrong(values, "quality", "a number from 0 to 1")
        attributes = values.get("attributes", {})
        if not isinstance(attributes, dict):
            raise _wrong(values, "attributes", "an object")
        return cls(
            annotations=_weights(values),
            attributes=attributes,
            quality=float(quality),
            extra={name: values[name] for name in values.keys() - _KNOWN},
            **texts,  # type: ignore[arg-type]  # checked above
        )


def in_turn(ordered: Iterable[_T], kind_of: Callable[[_T], str], limit: int) -> list[_T]:
    """Of entries that stand best first: the best of each kind, the second best of each... up to `limit`; best first."""
    entries = list(ordered)
    if len(entries) <= limit:
        return entries
    counts: Counter[str] = Counter()
    turns: list[tuple[int, int, _T]] = []
    for place, entry in enumerate(entries):
        kind = kind_of(entry)
        turns.append((counts[kind], place, entry))
        counts[kind] += 1
    kept = sorted(turns, key=lambda turn: turn[:2])[:limit]
    return [entry for _, _, entry in sorted(kept, key=lambda turn: turn[1])]


_FIELDS = (
    "item_id", "kind", "object_type", "title", "text", "link", "image", "annotations", "attributes", "locale",
    "audience", "group_id", "quality", "created_at",
)  # fmt: skip


_KNOWN = frozenset(_FIELDS)
_FILLED = frozenset({"item_id", "title"})
_TEXTS = {
    "item_id": None, "kind": None, "object_type": None, "title": None, "text": "", "locale": "", "audience": "all",
    "created_at": "",
}  # fmt: skip


def _weights(values: dict[str, Any]) -> dict[str, float]:
    weights = values.get("annotations", {})
    if not isinstance(weights, dict):
        raise _wrong(values, "annotations", "an object of tags with their weights")
    for tag, weight in weights.items():
        if not _is_fraction(weight):
            raise Fields(weights, what=f"item {values['item_id']!r}.annotations").wrong(tag, "a number from 0 to 1")
    return {tag: float(weight) for tag, weight in weights.items()}


def _is_fraction(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _wrong(values: dict[str, Any], name: str, expected: str) -> DecodeError:
    item_id = values.get("item_id")
    what = f"item {item_id!r}" if isinstance(item_id, str) else "item"
    if name not in values:
        return DecodeError(f"{what} lacks the field {name!r}")
    return Fields(values, what=what).wrong(name, expected)
