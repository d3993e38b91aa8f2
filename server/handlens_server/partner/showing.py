"""How an item is shown to a partner: its deep link, its thumbnails, its attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlens.wire.item import Item
from handlens_server.partner.guard import Caller
from handlens_server.partner.links import deep_link

__all__ = ["Shower", "attribution_of"]

_MOST_LABELS = 200


@dataclass(frozen=True, slots=True)
class Shower:
    """Shows items to a caller. `address_of` is the address of an item's thumbnail in a size; `fills` go into links."""

    who: Caller
    address_of: Callable[[str, int], str]
    fills: Mapping[str, str]

    def common(self, item: Item, intent: str = "") -> dict[str, Any]:
        """What a result and an item have in common."""
        return {
            "item_id": item.item_id,
            "kind": item.kind,
            "title": item.title,
            "link": self._link(item, intent),
            "thumbnails": self._thumbnails(item),
            "attribution": attribution_of(item),
        }

    def item(self, item: Item) -> dict[str, Any]:
        """The JSON object of an item."""
        labels = sorted(item.annotations, key=lambda tag: (-item.annotations[tag], tag))
        return {
            **self.common(item),
            "object_type": item.object_type,
            "text": item.text,
            "labels": labels[:_MOST_LABELS],
            "locale": item.locale,
            "created_at": item.created_at,
            "own": item.audience == self.who.profile.own_audience,
        }

    def _link(self, item: Item, intent: str) -> str | None:
        own = {"item_id": item.item_id, "kind": item.kind, "intent": intent, "partner": self.who.partner_id}
        return deep_link(self.who.profile.link_template, item.link, {**self.fills, **own})

    def _thumbnails(self, item: Item) -> list[dict[str, Any]]:
        if item.image is None:
            return []
        sides = self.who.profile.thumbnail_sides
        return [{"side": side, "url": self.address_of(item.item_id, side)} for side in sides]


def attribution_of(item: Item) -> dict[str, Any] | None:
    """Who made the picture, and under which licence; None where nobody asks to be named."""
    author, licence, source = (item.attributes.get(name) for name in ("author", "licence", "source"))
    named = [one for one in (author, licence) if isinstance(one, str) and one]
    if not named:
        return None
    return {
        "text": ", ".join(named)[:1000],
        "licence": licence[:300] if isinstance(licence, str) and licence else None,
        "source": source if isinstance(source, str) and source.startswith("https://") and len(source) <= 2000 else None,
    }
