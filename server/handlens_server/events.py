"""What devices sent: stored once, read back in order, erased, and forgotten in time.

Rules:

1. An event is stored once by its `event_id`, however often and from however many requests it comes: the database's own
   key decides. A batch is one transaction.
2. An exported line is the event as it came, with `device_id` and `received_at` added, in ASCII, so that no reader takes
   a character of a label for the end of a line. Lines stand in the order of arrival. `since` is part of an export and
   `until` is not, so exports that follow one another overlap in nothing.
3. Erasing a device deletes its events and its row. Of a revoked device the row stays, a random id that is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlens_server.devices import claim, count_events
from handlens_server.event_batches import EventBatch, RefusedLine
from handlens_server.tables import DeviceRow, EventRow
from handlens_server.times import text_of

__all__ = ["BatchAnswer", "erase_device", "export_events", "store_batch"]

_FETCH = 500  # rows at a time


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """How many events were stored, how many were known before, and which lines were refused."""

    stored: int
    known: int
    refused: tuple[RefusedLine, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"stored": self.stored, "known": self.known, "refused": [line.to_dict() for line in self.refused]}


def store_batch(session: Session, token: str, batch: EventBatch, now: datetime, limit: int) -> BatchAnswer:
    """Store the events that are new, for the device whose token this is; `limit` is events a day.

    Raises:
        TokenUnknownError, DeviceRevokedError: the device is refused. DeviceOverLimitError: its day is full.
    """
    device = claim(session, token, now)
    stored = _insert(session, device.device_id, batch, text_of(now))
    count_events(device, stored, now, limit)
    return BatchAnswer(stored, len(batch.events) - stored, batch.refused)


def erase_device(session: Session, token: str, now: datetime) -> int:
    """Delete all that is stored of the device whose token this is; the number of its events.

    Raises:
        TokenUnknownError: no device has it.
    """
    device = claim(session, token, now, even_revoked=True)
    gone = delete(EventRow).where(EventRow.device_id == device.device_id).returning(EventRow.event_id)
    count = len(session.execute(gone).all())
    if not device.is_revoked:
        session.execute(delete(DeviceRow).where(DeviceRow.device_id == device.device_id))
    return count


def export_events(session: Session, since: datetime | None = None, until: datetime | None = None) -> Iterator[str]:
    """The events that arrived in since <= time < until, each as one line of JSON."""
    query = select(EventRow.record, EventRow.device_id, EventRow.received_at)
    if since is not None:
        query = query.where(EventRow.received_at >= text_of(since))
    if until is not None:
        query = query.where(EventRow.received_at < text_of(until))
    ordered = query.order_by(EventRow.received_at, EventRow.event_id)
    for record, device_id, received_at in session.execute(ordered.execution_options(yield_per=_FETCH)):
        event = json.loads(record) | {"device_id": device_id, "received_at": received_at}
        yield json.dumps(event, separators=(",", ":"), sort_keys=True)


def _insert(session: Session, device_id: str, batch: EventBatch, received_at: str) -> int:
    # In the order of their ids, or two batches with the same events could wait for each other.
    rows = {event.event_id: _row(event.event_id, event.kind, event.at, record) for event, record in batch.events}
    if not rows:
        return 0
    common = {"device_id": device_id, "received_at": received_at}
    return _insert_new(session, [rows[event_id] | common for event_id in sorted(rows)])


def _row(event_id: str, kind: str, at: str, record: str) -> dict[str, str]:
    return {"event_id": event_id, "kind": kind, "at": at, "record": record}


def _insert_new(session: Session, rows: Iterable[dict[str, str]]) -> int:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(EventRow).values(list(rows)).on_conflict_do_nothing().returning(EventRow.event_id)
    return len(session.execute(insert).all())
