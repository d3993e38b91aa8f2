"""The sandbox: what a partner's test keys wrote, apart from all that is live."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from handlens_server.partner.errors import PartnerError
from handlens_server.partner.guard import Caller
from handlens_server.partner.idempotency import forget_writes
from handlens_server.partner.quotas import forget_counts
from handlens_server.partner.steady import owner_of
from handlens_server.partner.tables import BatchRow, FeedbackRow, OwnItemRow

__all__ = ["require_test_key", "reset_sandbox"]

_TABLES: dict[str, type[BatchRow] | type[OwnItemRow] | type[FeedbackRow]] = {
    "batches": BatchRow,
    "items": OwnItemRow,
    "events": FeedbackRow,
}


def require_test_key(who: Caller) -> None:
    """Refuse a live key.

    Raises:
        PartnerError: it is one (403 test-key-needed).
    """
    if not who.is_test:
        raise PartnerError(403, "test-key-needed", "this is for test keys: a live key cannot reach the sandbox")


def reset_sandbox(session: Session, who: Caller) -> dict[str, int]:
    """Forget what the partner's test keys wrote; how much it was."""
    counts = {}
    for name, table in _TABLES.items():
        mine = (table.partner_id == who.partner_id, table.mode == "test")
        counts[name] = int(session.scalar(select(func.count()).select_from(table).where(*mine)) or 0)
        session.execute(delete(table).where(*mine))
    owner = owner_of(who)
    forget_writes(session, owner)
    forget_counts(session, owner)
    return counts
