"""A box that a user drew on a photo, and how it is read from an exported event.

Rules:

1. An event is what ``handlens-server events export`` writes (docs/formats.md): the device's event with `device_id` and
   `received_at` added. Only events of kind ``box`` are drawn boxes. The photo is the picture of the item that
   `item_id` names: a box on a photo that only its user has can agree with nobody's.
2. A row is used or rejected with a reason of `RejectReason`, never dropped in silence, and no row raises.
3. No clock is asked. A time is in the future when it is later than the arrival at the server by more than
   `EventRules.clock_slack`, or later than `EventRules.latest`.
4. Edges that leave the photo by at most `EventRules.overshoot` are a slip of the finger and are clipped; what leaves it
   further is rejected, as pixels when an edge is above `EventRules.pixels`.

::

    found = read_line(b'{"format":1,"kind":"box","box":[0.1,0.2,0.5,0.6],...}')
    if isinstance(found, Reject): counts[found.reason] += 1
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from handlens_conversion.boxes.reasons import Reject, RejectReason

__all__ = ["DrawnBox", "Edges", "EventRules", "event_record", "read_edges", "read_event", "read_line"]

Edges = tuple[float, float, float, float]

_FORMAT = 1
_MAX_TEXT = 200  # characters of an id or of the words
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):([0-5][0-9])(\.\d{1,6})?(?:Z|[+]00:00)")
# Control characters, lone surrogates, and what a wrong decoding leaves. (Joiners and no-break spaces are text.)
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """One box that one user drew on one photo.

    `box` holds left, top, right, bottom as fractions 0..1 of the upright photo, left < right and top < bottom. `words`
    is what the user called it, as typed, or None. `at` is the second of drawing, UTC, by the device's clock.
    """

    event_id: str
    user: str
    photo: str
    box: Edges
    words: str | None
    at: float


@dataclass(frozen=True, slots=True)
class EventRules:
    """What of an event is taken as a slip and what as an error."""

    latest: float | None = None  # seconds UTC: the end of the export; None asks only the arrival
    clock_slack: float = 86_400.0  # seconds that a device's clock may run ahead
    overshoot: float = 0.05  # fraction of the photo that an edge may lie outside
    pixels: float = 2.0  # an edge above this is in pixels


_RULES = EventRules()


def read_line(line: str | bytes, rules: EventRules = _RULES) -> DrawnBox | Reject:
    """One line of an export; as bytes it must be UTF-8."""
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError as error:
        return Reject(RejectReason.NOT_UNICODE, f"byte {error.start} of {line!r}")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return Reject(RejectReason.NOT_JSON, text)
    if not isinstance(record, Mapping):
        return Reject(RejectReason.NOT_JSON, text)
    return read_event(record, rules)


def read_event(record: Mapping[str, Any], rules: EventRules = _RULES) -> DrawnBox | Reject:
    """One exported event, decoded from JSON or a row of Parquet."""
    if record.get("format") != _FORMAT or isinstance(record["format"], bool):
        return _reject(RejectReason.UNKNOWN_FORMAT, record, "format")
    if record.get("kind") != "box":
        known = isinstance(record.get("kind"), str)
        return _reject(RejectReason.OTHER_KIND if known else RejectReason.BAD_FIELD, record, "kind")
    if not record.get("item_id"):
        return _reject(RejectReason.NO_PHOTO, record, "item_id")
    for name in ("event_id", "device_id", "item_id"):
        if not _is_id(record.get(name)):
            hidden = "a device id that is no text" if name == "device_id" else None
            return _reject(RejectReason.BAD_FIELD, record, name, hidden)
    at = _seconds(record.get("at"))
    if at is None:
        return _reject(RejectReason.BAD_TIME, record, "at")
    arrived = record.get("received_at")
    limits = [rules.latest, None if arrived is None else _seconds(arrived)]
    if arrived is not None and limits[1] is None:
        return _reject(RejectReason.BAD_TIME, record, "received_at")
    if any(limit is not None and at > limit + rules.clock_slack for limit in limits):
        return _reject(RejectReason.FUTURE_TIME, record, "at")
    words = record.get("label")
    if words is not None and not _is_text(words):
        return _reject(RejectReason.BAD_WORDS, record, "label")
    box = read_edges(record.get("box"), rules)
    if isinstance(box, Reject):
        return box
    return DrawnBox(record["event_id"], record["device_id"], record["item_id"], box, (words or "").strip() or None, at)


def read_edges(value: object, rules: EventRules = _RULES) -> Edges | Reject:
    """Four edges as fractions, clipped where they slipped; the first rule that is broken gives the reason."""
    found = _sound_edges(value) or _clipped_edges(value, rules)
    return Reject(found, f"box={value!r}") if isinstance(found, RejectReason) else found


def _sound_edges(value: object) -> Edges | None:
    """Edges that need no second look, as those of nearly all rows; no rule of `_clipped_edges` holds for them."""
    if type(value) is not list or len(value) != 4:
        return None
    x_min, y_min, x_max, y_max = value
    if not (type(x_min) is type(y_min) is type(x_max) is type(y_max) is float):
        return None
    return (x_min, y_min, x_max, y_max) if 0.0 <= x_min < x_max <= 1.0 and 0.0 <= y_min < y_max <= 1.0 else None


def _clipped_edges(value: object, rules: EventRules) -> Edges | RejectReason:
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return RejectReason.BAD_FIELD
    if not all(isinstance(edge, (int, float)) and not isinstance(edge, bool) for edge in value):
        return RejectReason.BAD_FIELD
    if not all(abs(edge) < math.inf for edge in value):
        return RejectReason.NOT_FINITE
    if value[0] > value[2] or value[1] > value[3]:
        return RejectReason.INVERTED
    if max(value) > rules.pixels:
        return RejectReason.IN_PIXELS
    if min(value) < -rules.overshoot:
        return RejectReason.NEGATIVE
    if max(value) > 1 + rules.overshoot:
        return RejectReason.OUTSIDE
    x_min, y_min, x_max, y_max = (min(max(float(edge), 0.0), 1.0) for edge in value)
    if not (x_min < x_max and y_min < y_max):
        return RejectReason.DEGENERATE
    return x_min, y_min, x_max, y_max


def event_record(drawn: DrawnBox) -> dict[str, Any]:
    """The event as the server exports it: what `read_event` reads back as the same box, to 1/100,000 of the photo."""
    at = datetime.fromtimestamp(drawn.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    record: dict[str, Any] = {
        "at": at,
        "box": [round(edge, 5) for edge in drawn.box],
        "device_id": drawn.user,
        "event_id": drawn.event_id,
        "format": _FORMAT,
        "item_id": drawn.photo,
        "kind": "box",
        "received_at": at,
        "request_id": drawn.event_id.replace("-", ""),
    }
    return record if drawn.words is None else {**record, "label": drawn.words}


def _reject(reason: RejectReason, record: Mapping[str, Any], name: str, shown: str | None = None) -> Reject:
    return Reject(reason, f"{name}={record.get(name)!r}" if shown is None else shown)


def _is_id(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        return False
    return (value.isascii() and value.isprintable()) or not _NO_TEXT.search(value)


def _seconds(value: object) -> float | None:
    parts = _TIME.fullmatch(value) if isinstance(value, str) else None
    minute = None if parts is None else _minute(parts[1])
    if parts is None or minute is None:
        return None
    return minute + int(parts[2]) + float(parts[3] or 0)


@lru_cache(maxsize=65_536)  # events of an export share the minutes of some weeks
def _minute(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:  # the 31st of February
        return None
