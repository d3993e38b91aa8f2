"""A partner's own item, as it comes in a batch, and as the catalogue has it.

Its id stands in the partner's own name space (``acme.sku-1``) and its audience is the partner's own: no batch can touch
or show an item of anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["feed_name", "full_id", "item_values", "own_id"]

_COPIED = ("kind", "object_type", "title", "text", "link", "annotations", "locale", "quality", "created_at")


def feed_name(partner_id: str) -> str:
    """What the catalogue files the partner's own items under."""
    return f"partner:{partner_id}"


def full_id(partner_id: str, own: str) -> str:
    """The id of an own item in the catalogue."""
    return f"{partner_id}.{own}"


def own_id(partner_id: str, item_id: str) -> str:
    """The partner's own id of such an item."""
    return item_id.removeprefix(f"{partner_id}.")


def item_values(partner_id: str, entry: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    """The row of a feed for an entry of a batch; `image` is the name of its picture's file."""
    values: dict[str, Any] = {name: entry[name] for name in _COPIED if name in entry}
    values |= {"item_id": full_id(partner_id, entry["id"]), "audience": f"partner:{partner_id}"}
    if "attribution" in entry:
        values["attributes"] = dict(entry["attribution"])
    if "group_id" in entry:
        values["group_id"] = full_id(partner_id, entry["group_id"])
    if image is not None:
        values["image"] = image
    return values
