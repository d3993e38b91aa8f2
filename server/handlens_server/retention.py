"""Events of devices and partners are kept for the days that the operator set, and no longer.

They are deleted in steps, each a transaction of its own, so that devices never wait for long.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_

from handlens_server.database import Database
from handlens_server.partner.tables import FeedbackRow
from handlens_server.tables import EventRow
from handlens_server.times import text_of

__all__ = ["prune_events"]


def prune_events(database: Database, now: datetime, retention_days: int, *, step: int = 5000) -> int:
    """Delete the events that arrived more than `retention_days` ago; how many there were.

    Raises:
        DatabaseError: the database cannot be used; the steps before this stay done.
    """
    before = text_of(now - timedelta(days=retention_days))
    total = 0
    for prune in (_prune_some, _prune_feedback):
        while gone := prune(database, before, step):
            total += gone
    return total


def _prune_feedback(database: Database, before: str, step: int) -> int:
    key = (FeedbackRow.partner_id, FeedbackRow.mode, FeedbackRow.event_id)
    oldest = select(*key).where(FeedbackRow.received_at < before).order_by(FeedbackRow.received_at).limit(step)
    with database.session() as session:
        gone = delete(FeedbackRow).where(tuple_(*key).in_(oldest)).returning(FeedbackRow.event_id)
        return len(session.execute(gone).all())


def _prune_some(database: Database, before: str, step: int) -> int:
    oldest = select(EventRow.event_id).where(EventRow.received_at < before).order_by(EventRow.received_at).limit(step)
    with database.session() as session:
        gone = delete(EventRow).where(EventRow.event_id.in_(oldest)).returning(EventRow.event_id)
        return len(session.execute(gone).all())
