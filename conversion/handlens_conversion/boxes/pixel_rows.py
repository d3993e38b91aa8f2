"""Boxes of label tools, in pixels -> drawn boxes. An event's boxes are fractions: only who says so reads pixels.

A row has `event_id`, `user`, `image`, `box` (left, top, right, bottom in pixels of the upright photo), `label` and `t`
(seconds UTC). The sizes of the photos come from elsewhere, such as a detection data set's rows (`sizes_of`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from handlens_conversion.boxes.drawn import DrawnBox, EventRules, read_edges
from handlens_conversion.boxes.reasons import Reject, RejectReason

__all__ = ["Sizes", "event_id_of", "read_pixel_row", "sizes_of"]

Sizes = Mapping[str, tuple[int, int]]  # photo -> width, height in pixels
_RULES = EventRules()


def sizes_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """The sizes that rows with `image`, `width` and `height` tell."""
    return {str(row["image"]): (int(row["width"]), int(row["height"])) for row in rows}


def read_pixel_row(record: Mapping[str, Any], sizes: Sizes, rules: EventRules = _RULES) -> DrawnBox | Reject:
    """One row of a label tool; its event id is made into a UUID by `event_id_of`."""
    size = sizes.get(str(record.get("image")))
    if size is None:
        return Reject(RejectReason.UNKNOWN_PHOTO, f"image={record.get('image')!r}")
    for name, kind in (("event_id", str), ("user", str), ("label", str), ("t", (int, float)), ("box", list)):
        if not isinstance(record.get(name), kind):
            return Reject(RejectReason.BAD_FIELD, f"{name}={record.get(name)!r}" if name != "user" else "user")
    if len(record["box"]) != 4 or not all(isinstance(edge, (int, float)) for edge in record["box"]):
        return Reject(RejectReason.BAD_FIELD, f"box={record['box']!r}")
    box = read_edges([edge / limit for edge, limit in zip(record["box"], size * 2, strict=True)], rules)
    if isinstance(box, Reject):
        return box
    words = record["label"].strip() or None
    return DrawnBox(
        event_id_of(record["event_id"]), record["user"], str(record["image"]), box, words, float(record["t"])
    )


def event_id_of(name: str) -> str:
    """A UUID (version 4 in form) that is a function of any other id."""
    return str(uuid.UUID(bytes=hashlib.sha256(name.encode()).digest()[:16], version=4))
