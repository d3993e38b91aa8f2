"""How much a partner may use in a day (UTC), counted in the database.

Rules:

1. What is used was counted before: a worker that is killed forgets nothing, and no quota is ever passed.
2. A worker takes from a large quota in advance, a thousandth of it and at most 100 units, and uses them without asking
   the database. Quotas below 2,000 are counted one by one. So at the end of a day up to a thousandth of a quota may lie
   unused in each worker; of what a worker did not use by the end of a day nothing is given back.
3. Nothing is counted for a request that is refused.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlens_server.database import Database
from handlens_server.partner.rate_fields import Limit, LimitState
from handlens_server.partner.refusals import QuotaExceededError
from handlens_server.partner.stability_tables import PartnerCountRow
from handlens_server.times import Clock, day_of

__all__ = ["DAY", "Quotas", "forget_counts", "used_on"]

DAY = 86_400  # seconds
_PART = 1000  # of a quota is taken in advance
_MOST = 100  # units taken in advance


@dataclass(slots=True)
class _Purse:
    """Units that were counted and not used yet."""

    day: str = ""
    units: int = 0
    counted: int = 0  # of the day, by all workers, when this worker last asked


class Quotas:
    """The quotas of all partners, as one worker uses them. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._purses: dict[tuple[str, str], _Purse] = {}

    def take(self, owner: str, limit: Limit) -> LimitState:
        """Use one unit of a day's quota; where it stands now.

        Raises:
            QuotaExceededError: the day's quota is used up. DatabaseError: it cannot be counted.
        """
        now = self._clock()
        with self._lock:
            purse = self._purses.setdefault((owner, limit.name), _Purse())
            if purse.day != day_of(now):
                purse.day, purse.units, purse.counted = day_of(now), 0, 0
            if not purse.units:
                self._fill(purse, owner, limit)
            reset = _seconds_left(now)
            if not purse.units:
                raise QuotaExceededError(
                    f"the quota of {limit.quota} {limit.name} of this day (UTC) is used up: go on tomorrow", reset
                )
            purse.units -= 1
            return limit.state(used=purse.counted - purse.units, reset=reset)

    def forget(self, owner: str) -> None:
        """Give up what this worker took in advance for `owner`."""
        with self._lock:
            for key in [key for key in self._purses if key[0] == owner]:
                del self._purses[key]

    def _fill(self, purse: _Purse, owner: str, limit: Limit) -> None:
        advance = min(max(limit.quota // _PART, 1), _MOST)
        with self._database.session() as session:
            for units in sorted({advance, 1}, reverse=True):
                counted = _count(session, owner, purse.day, limit, units)
                if counted is not None:
                    purse.units, purse.counted = units, counted
                    return
        purse.counted = limit.quota


def used_on(session: Session, owner: str, day: str) -> dict[str, int]:
    """What was counted for `owner` on a day such as 2026-01-31, by name; up to a thousandth of it is not used yet."""
    rows = select(PartnerCountRow).where(PartnerCountRow.owner == owner, PartnerCountRow.day == day)
    return {row.what: row.used for row in session.scalars(rows)}


def forget_counts(session: Session, owner: str) -> None:
    """Forget all that was counted for `owner`."""
    session.execute(delete(PartnerCountRow).where(PartnerCountRow.owner == owner))


def _count(session: Session, owner: str, day: str, limit: Limit, units: int) -> int | None:
    """Add units to a day's count where the quota allows it; the count then, or nothing."""
    if units > limit.quota:
        return None
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    first = dialect.insert(PartnerCountRow).values(owner=owner, day=day, what=limit.name, used=units)
    counted = first.on_conflict_do_update(
        index_elements=["owner", "day", "what"],
        set_={"used": PartnerCountRow.used + units},
        where=PartnerCountRow.used + units <= limit.quota,
    ).returning(PartnerCountRow.used)
    return session.execute(counted).scalar_one_or_none()


def _seconds_left(now: datetime) -> int:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return int((midnight - now).total_seconds()) + 1
