"""What users did with answers: stored once by the event's id, for the answer that the insights token is of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlens_server.partner.errors import PartnerError
from handlens_server.partner.guard import Caller
from handlens_server.partner.signing import SignedTextError, Signer
from handlens_server.partner.tables import FeedbackRow
from handlens_server.times import text_of

__all__ = ["export_feedback", "insights_token", "read_insights_token", "store_feedback"]

_PURPOSE = "insights"
_FETCH = 500  # rows at a time


def insights_token(signer: Signer, who: Caller, request_id: str, now: datetime) -> tuple[str, str]:
    """A token for feedback on an answer, and its end."""
    end = now + timedelta(hours=who.profile.insights_hours)
    values = {"p": who.partner_id, "m": who.mode, "r": request_id, "expires": int(end.timestamp())}
    return signer.sign(_PURPOSE, values), text_of(end)


def read_insights_token(signer: Signer, who: Caller, token: str, now: datetime) -> str:
    """The request that the token is of.

    Raises:
        PartnerError: it is none, another partner's, of the other mode, or over (422).
    """
    try:
        values = signer.read(_PURPOSE, token, now)
    except SignedTextError as error:
        if error.is_expired:
            raise PartnerError(
                422, "insights-token-expired", "the answer is too old: no more feedback is taken"
            ) from error
        raise _unknown_token() from error
    if (values.get("p"), values.get("m")) != (who.partner_id, who.mode):
        raise _unknown_token()
    return str(values["r"])


def store_feedback(
    session: Session, who: Caller, request_id: str, events: Iterable[Mapping[str, Any]], now: datetime
) -> dict[str, int]:
    """Store the events that are new; how many were, and how many were known."""
    by_id = {event["event_id"]: _row(who, request_id, event, now) for event in events}
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    rows = [by_id[event_id] for event_id in sorted(by_id)]  # in one order, or two requests could wait for each other
    insert = dialect.insert(FeedbackRow).values(rows).on_conflict_do_nothing().returning(FeedbackRow.event_id)
    stored = len(session.execute(insert).all())
    return {"stored": stored, "known": len(rows) - stored}


def export_feedback(session: Session, partner_id: str) -> Iterator[str]:
    """The partner's live events in the order of their arrival, each as one line of JSON in ASCII."""
    query = select(FeedbackRow).where(FeedbackRow.partner_id == partner_id, FeedbackRow.mode == "live")
    ordered = query.order_by(FeedbackRow.received_at, FeedbackRow.event_id)
    for row in session.scalars(ordered.execution_options(yield_per=_FETCH)):
        event = json.loads(row.record) | {"request_id": row.request_id, "received_at": row.received_at}
        yield json.dumps(event, separators=(",", ":"), sort_keys=True)


def _row(who: Caller, request_id: str, event: Mapping[str, Any], now: datetime) -> dict[str, str]:
    return {
        "partner_id": who.partner_id,
        "mode": who.mode,
        "event_id": event["event_id"],
        "request_id": request_id,
        "kind": event["kind"],
        "at": event["at"],
        "received_at": text_of(now),
        "record": json.dumps(event, sort_keys=True, ensure_ascii=True),
    }


def _unknown_token() -> PartnerError:
    return PartnerError(422, "insights-token-invalid", "this insights token is of no answer that was given to you")
