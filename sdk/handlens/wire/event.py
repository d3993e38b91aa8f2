"""An event: what the user did with an answer, as the device keeps it and the server stores it.

Rules:

1. `event_id` is random (UUID 4) and made once, on the device: the server stores an event once, however often it comes.
2. An event names items, labels, boxes and a request, never a person. What may be in it depends on the consent that the
   user gave: ``none`` (no event is made), ``events``, ``embedding`` (the code of the crop too), ``crop`` (the crop's
   pixels too).
3. Boxes are fractions of the upright photo. A crop is a JPEG of at most `MAX_CROP_BYTES`.

::

    {"format":1,"event_id":"...","kind":"box","at":"2026-01-01T10:00:00Z","request_id":"...","release":"demo-1",
     "object_type":"food","box":[0.1,0.2,0.5,0.6],"label":"avocado"}
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handlens.errors import BoxError, DecodeError
from handlens.geometry import Box
from handlens.wire.exposure import Exposure
from handlens.wire.fields import Fields, load_object

__all__ = [
    "CONSENTS",
    "EVENT_KINDS",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_CROP_BYTES",
    "MAX_EVENT_BYTES",
    "Event",
]

_FORMAT = 1
EVENT_KINDS = ("search", "click", "save", "hide", "box", "label")
CONSENTS = ("none", "events", "embedding", "crop")  # each allows what those before it allow
MAX_CROP_BYTES = 200_000
MAX_EVENT_BYTES = 300_000  # one event as JSON
MAX_BATCH_BYTES = 4_000_000  # a batch after decompression
MAX_BATCH_EVENTS = 500
_MAX_TEXT = 200  # characters of a label or an id
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing the user did.

    `kind` says what: search (`shown` lists the item ids of the answer, best first; `exposure` says with what chance
    they were shown), click, save, hide (`item_id`), box
    (`box`, and `label` where the user named it), label (`label` in place of `shown_label`). In box and label `item_id`
    is the item whose picture the user searched, where it was one. `embedding` is the int8
    code of the object, of the embedding `space`; `crop` is a JPEG. `extra` keeps fields of newer versions.
    """

    event_id: str
    kind: str
    at: str
    request_id: str
    release: str
    object_type: str = ""
    item_id: str = ""
    box: Box | None = None
    label: str = ""
    shown_label: str = ""
    shown: tuple[str, ...] = ()
    space: str = ""
    embedding: bytes = b""
    crop: bytes = b""
    exposure: Exposure | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def within(self, consent: str) -> Event:
        """This event without what `consent` (events, embedding or crop) does not cover."""
        level = CONSENTS.index(consent)
        kept = self if level >= CONSENTS.index("crop") else replace(self, crop=b"")
        if level >= CONSENTS.index("embedding"):
            return kept
        exposure = None if kept.exposure is None else kept.exposure.without_offers()
        return replace(kept, embedding=b"", space="", exposure=exposure)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; empty fields are left out."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        values["box"] = None if self.box is None else self.box.to_list()
        values["shown"] = list(self.shown)
        values["embedding"] = base64.b64encode(self.embedding).decode()
        values["crop"] = base64.b64encode(self.crop).decode()
        values["exposure"] = None if self.exposure is None else self.exposure.to_dict()
        return {"format": _FORMAT, **self.extra, **{name: value for name, value in values.items() if value}}

    def to_json(self) -> str:
        """The event as one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Event:
        """Read an event.

        Raises:
            DecodeError: malformed, too large, of a newer format, or a field of its kind is missing.
        """
        if len(text) > MAX_EVENT_BYTES:
            raise DecodeError(f"an event has more than {MAX_EVENT_BYTES} bytes: send a smaller crop")
        fields = Fields(load_object(text, what="event"), what="event")
        fields.require_format(_FORMAT)
        event = cls(
            event_id=_matching(fields, "event_id", _UUID, "a random UUID in lower case"),
            kind=fields.text("kind"),
            at=_matching(fields, "at", _TIME, "a time such as 2026-01-01T10:00:00Z"),
            **{name: _short(fields, name) for name in _SHORT},
            box=_box(fields),
            shown=_ids(fields),
            embedding=_bytes(fields, "embedding", 4096),
            crop=_bytes(fields, "crop", MAX_CROP_BYTES),
            exposure=_exposure(fields),
            extra=fields.unknown(_KNOWN),
        )
        if event.kind not in EVENT_KINDS:
            raise fields.wrong("kind", f"one of {', '.join(EVENT_KINDS)}")
        for needed in _NEEDED[event.kind]:
            if not getattr(event, needed):
                raise fields.wrong(needed, f"a value: an event of kind {event.kind!r} needs one")
        return event


_SHORT = ("request_id", "release", "object_type", "item_id", "label", "shown_label", "space")
_TEXTS = ("event_id", "kind", "at", *_SHORT)
_KNOWN = frozenset({"format", *Event.__dataclass_fields__} - {"extra"})
_NEEDED: dict[str, tuple[str, ...]] = {
    "search": ("request_id",),
    "click": ("request_id", "item_id"),
    "save": ("request_id", "item_id"),
    "hide": ("request_id", "item_id"),
    "box": ("request_id", "box"),
    "label": ("request_id", "label"),
}


def _matching(fields: Fields, name: str, pattern: re.Pattern[str], expected: str) -> str:
    value = fields.text(name)
    if not pattern.fullmatch(value):
        raise fields.wrong(name, expected)
    return value


def _short(fields: Fields, name: str) -> str:
    value = fields.text(name, "")
    if len(value) > _MAX_TEXT:
        raise fields.wrong(name, f"at most {_MAX_TEXT} characters")
    return _unicode(fields, name, value)


def _unicode(fields: Fields, name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise fields.wrong(name, "text in Unicode, without lone surrogates") from error
    return value


def _ids(fields: Fields) -> tuple[str, ...]:
    ids = fields.strings("shown") if "shown" in fields.values else ()
    if len(ids) > _MAX_TEXT or any(len(one) > _MAX_TEXT for one in ids):
        raise fields.wrong("shown", f"at most {_MAX_TEXT} item ids")
    return tuple(_unicode(fields, "shown", one) for one in ids)


def _box(fields: Fields) -> Box | None:
    value = fields.values.get("box")
    try:
        return None if value is None else Box.from_list(value)
    except BoxError as error:
        raise DecodeError(f"{fields.what}: {error}") from error


def _exposure(fields: Fields) -> Exposure | None:
    value = fields.values.get("exposure")
    return None if value is None else Exposure.from_dict(value, what=f"{fields.what}.exposure")


def _bytes(fields: Fields, name: str, most: int) -> bytes:
    try:
        data = base64.b64decode(fields.text(name, ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong(name, "base64") from error
    if len(data) > most:
        raise fields.wrong(name, f"at most {most} bytes")
    return data
