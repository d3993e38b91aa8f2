"""What an item of a feed must keep to, beyond what `Item.from_dict` checks.

Rules:

1. A refusal has a code from `CODES`, which a partner's program can act on, and a reason that a person can act on.
2. Nothing is mended in silence: an item is taken as it stands, or refused.
3. Only https links, because a device opens them. Text must be text that every database and device can hold: no NUL, no
   control characters, no half of a surrogate pair.
4. Sizes are bounded, so that one item cannot fill a pack: see `ItemLimits`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from handlens.errors import DecodeError, HandlensError
from handlens.wire.item import KINDS, OBJECT_TYPES, Item

__all__ = ["CODES", "ItemLimits", "ItemRefusedError", "Refusal", "item_record", "read_item", "usable_id"]

CODES: Mapping[str, str] = {
    "line-too-long": "the line is longer than a feed's lines may be",
    "not-utf8": "the line is not UTF-8",
    "not-json": "the line is not a JSON object",
    "wrong-columns": "the CSV row has not as many fields as the header, or a value that its mapping does not know",
    "bad-id": "the id is missing, too long, holds control characters, or spaces at its ends",
    "duplicate-id": "the id stands on an earlier line of the feed",
    "other-feed": "the id belongs to an item of another feed",
    "unknown-kind": "the kind is not one of those that handlens knows",
    "unknown-type": "the object type is not one of those that handlens knows",
    "bad-field": "a field is missing, has another type, or a value outside its range",
    "bad-text": "a text holds control characters or cannot be written as UTF-8",
    "bad-link": "the link is not https to a host",
    "bad-date": "created_at is not an ISO 8601 time",
    "bad-tag": "a tag is empty, too long, or not lower-case",
    "too-many-tags": "there are more annotations than an item may have",
    "too-large": "a text, or the whole item, is larger than it may be",
    "picture-outside": "the picture is not named by a path inside the feed's folder",
    "picture-missing": "the picture's file is not there, or cannot be read",
    "picture-too-large": "the picture has too many bytes or too many pixels",
    "picture-is-html": "the picture's file is a web page",
    "picture-unreadable": "the picture's file is no image, damaged, cut short, or too small",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no text in UTF-8 has it
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a text may have lines and tabs


class ItemRefusedError(HandlensError):
    """An item is refused; `code` is one of `CODES`, and the message says what to do."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused row: its line in the feed, its id ("" where it has none that an item can have), and why."""

    line: int
    item_id: str
    code: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"line": self.line, "item_id": self.item_id, "code": self.code, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """How large an item may be. Texts in characters; the database has columns of such sizes."""

    item_id: int = 200
    title: int = 500
    text: int = 10_000
    link: int = 2000
    image: int = 500
    locale: int = 40
    audience: int = 80
    group_id: int = 200
    tags: int = 200
    tag: int = 80
    record: int = 64_000  # bytes of the whole item as JSON


_SIZED = ("item_id", "title", "text", "link", "image", "locale", "audience", "group_id")


def read_item(values: Mapping[str, Any], limits: ItemLimits | None = None) -> Item:
    """The item in a decoded row of a feed.

    Raises:
        ItemRefusedError: the first rule that it breaks.
    """
    limits = limits or ItemLimits()
    _check_id(values.get("item_id"), limits)
    _check_word(values, "kind", KINDS, "unknown-kind")
    _check_word(values, "object_type", OBJECT_TYPES, "unknown-type")
    _check_tag_count(values.get("annotations"), limits)
    try:
        item = Item.from_dict(values)
    except DecodeError as error:
        raise ItemRefusedError("bad-field", str(error)) from error
    _check_texts(item, limits)
    _check_tags(item, limits)
    _check_link(item.link)
    _check_date(item.created_at)
    _check_record(item, limits)
    return item


def item_record(item: Item) -> str:
    """The JSON text by which items are stored and compared: keys sorted, no spaces.

    Raises:
        ValueError: it holds a number that is not finite, or is nested too deeply.
    """
    try:
        return json.dumps(item.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def usable_id(item_id: object, limits: ItemLimits | None = None) -> str:
    """The id, or "" when it is none that an item can have."""
    try:
        return _check_id(item_id, limits or ItemLimits())
    except ItemRefusedError:
        return ""


def _check_id(item_id: object, limits: ItemLimits) -> str:
    if not isinstance(item_id, str) or not item_id:
        raise ItemRefusedError("bad-id", f"item_id is {_shown(item_id)}: give a text that names the item for good")
    if len(item_id) > limits.item_id:
        raise ItemRefusedError(
            "bad-id", f"item_id {_shown(item_id)} has {len(item_id)} characters: at most {limits.item_id}"
        )
    if item_id != item_id.strip() or _CONTROL.search(item_id) or _HALF.search(item_id):
        raise ItemRefusedError(
            "bad-id", f"item_id {_shown(item_id)} has spaces at its ends or control characters: take them out"
        )
    return item_id


def _check_word(values: Mapping[str, Any], name: str, known: tuple[str, ...], code: str) -> None:
    value = values.get(name)
    if isinstance(value, str) and value not in known:
        raise ItemRefusedError(code, f"{name} is {_shown(value)}: give one of {', '.join(known)}")


def _check_tag_count(annotations: object, limits: ItemLimits) -> None:
    if isinstance(annotations, Mapping) and len(annotations) > limits.tags:
        raise ItemRefusedError("too-many-tags", f"{len(annotations)} annotations: keep the {limits.tags} that say most")


def _check_texts(item: Item, limits: ItemLimits) -> None:
    for name in _SIZED:
        value = getattr(item, name) or ""
        if len(value) > getattr(limits, name):
            raise ItemRefusedError("too-large", f"{name} has {len(value)} characters: at most {getattr(limits, name)}")
        if (_CONTROL_IN_TEXT if name == "text" else _CONTROL).search(value):
            raise ItemRefusedError("bad-text", f"{name} {_shown(value)} holds control characters: take them out")


def _check_tags(item: Item, limits: ItemLimits) -> None:
    for tag in item.annotations:
        if not tag.strip() or len(tag) > limits.tag or _CONTROL.search(tag):
            raise ItemRefusedError(
                "bad-tag", f"tag {_shown(tag)}: give 1 to {limits.tag} characters, no control characters"
            )
        if tag != tag.lower():
            raise ItemRefusedError("bad-tag", f"tag {_shown(tag)} is not lower-case: write {_shown(tag.lower())}")


def _check_link(link: str | None) -> None:
    if link is None:
        return
    try:
        parts = urlsplit(link)
        is_good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", link)
    except ValueError:
        is_good = False
    if not is_good:
        raise ItemRefusedError("bad-link", f"link {_shown(link)}: only https:// links to a host are shown")


def _check_date(created_at: str) -> None:
    if not created_at:
        return
    try:
        datetime.fromisoformat(created_at.replace("Z", "+00:00"))
    except ValueError as error:
        raise ItemRefusedError(
            "bad-date", f"created_at {_shown(created_at)}: give ISO 8601, such as 2026-01-31T12:00:00Z"
        ) from error


def _check_record(item: Item, limits: ItemLimits) -> None:
    try:
        size = len(item_record(item).encode())
    except UnicodeEncodeError as error:
        raise ItemRefusedError("bad-text", "a text holds half of a surrogate pair: write it as UTF-8") from error
    except ValueError as error:
        raise ItemRefusedError("bad-field", f"the item cannot be written as JSON ({error}): mend its fields") from error
    if size > limits.record:
        raise ItemRefusedError("too-large", f"the item has {size} bytes: at most {limits.record}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
