"""A batch of events as a device sends it: gzip over JSON lines.

Rules:

1. Nothing is decompressed beyond `MAX_BATCH_BYTES`, whatever the body claims.
2. A body that is no whole gzip file, or has too much in it, is refused whole. In any other, every line that is an event
   is taken, and every other line is named with its number (from 1), its event_id where it can be read, and the reason:
   one bad event never holds up the rest.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from handlens.errors import DecodeError, HandlensError
from handlens.wire.event import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES, Event
from handlens.wire.fields import load_object

__all__ = ["BatchTooLargeError", "EventBatch", "NotGzipError", "RefusedLine", "decode_batch"]

_GZIP = 31  # zlib's window bits for a gzip file
_MAX_TIME = 40  # characters, as in the table
_MAX_REASON = 300


class NotGzipError(HandlensError):
    """The body is not one whole gzip file."""


class BatchTooLargeError(HandlensError):
    """The batch has too many bytes or events."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that is no event: its number, from 1, its event_id or nothing, and why."""

    line: int
    event_id: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"line": self.line, "event_id": self.event_id, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class EventBatch:
    """The events of a batch with their JSON, and the lines that are none."""

    events: tuple[tuple[Event, str], ...]
    refused: tuple[RefusedLine, ...]


def decode_batch(body: bytes, encoding: str) -> EventBatch:
    """Read a request's body, of the given Content-Encoding.

    Raises:
        NotGzipError: it is no gzip file. BatchTooLargeError: it has too many bytes or events.
    """
    if encoding.strip().lower() != "gzip":
        raise NotGzipError("events come compressed: send gzip, with `Content-Encoding: gzip`")
    lines = [(number, line) for number, line in enumerate(_unpack(body).split(b"\n"), start=1) if line.strip()]
    if len(lines) > MAX_BATCH_EVENTS:
        raise BatchTooLargeError(f"a batch has at most {MAX_BATCH_EVENTS} events: send smaller batches")
    events, refused = [], []
    for number, line in lines:
        try:
            events.append(_event(line))
        except DecodeError as error:
            refused.append(RefusedLine(number, _event_id(line), str(error)[:_MAX_REASON]))
    return EventBatch(tuple(events), tuple(refused))


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(body, MAX_BATCH_BYTES + 1)
    except zlib.error as error:
        raise NotGzipError("the body is not gzip: compress the batch again") from error
    if len(data) > MAX_BATCH_BYTES:
        raise BatchTooLargeError(f"a batch has at most {MAX_BATCH_BYTES} bytes: send smaller batches")
    if not unpacker.eof or unpacker.unused_data:
        raise NotGzipError("the body is not one whole gzip file: compress the batch again")
    return data


def _event(line: bytes) -> tuple[Event, str]:
    event = Event.from_json(line)
    if len(event.at) > _MAX_TIME:
        raise DecodeError(f"event.at has more than {_MAX_TIME} characters")
    return event, event.to_json()


def _event_id(line: bytes) -> str:
    """The event_id of a refused line, where there is one that a device can have made."""
    try:
        value = load_object(line, what="event").get("event_id") if len(line) <= MAX_EVENT_BYTES else ""
    except DecodeError:
        return ""
    return value if isinstance(value, str) and len(value) == 36 and value.isascii() else ""
