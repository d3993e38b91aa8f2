"""How often a partner called, by day and operation.

Calls are counted in the process and written once a second: an answer must not wait for the database, nor fail with it.
A process that is killed loses the counts of its last second; one that ends writes them.
"""

from __future__ import annotations

import atexit
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens_server.database import Database
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.tables import UsageRow
from handlens_server.times import Clock, day_of

__all__ = ["UsageCounter", "usage_of"]

_SECONDS = 1.0
_MOST_DAYS = 92
_USUAL_DAYS = 30
_log = structlog.get_logger("handlens_server.partner.usage")


class _Place(NamedTuple):
    partner_id: str
    mode: str
    day: str
    operation: str


class UsageCounter:
    """Counts calls. Thread-safe; its thread starts with the first call of a process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._calls: Counter[_Place] = Counter()
        self._refused: Counter[_Place] = Counter()
        self._failed: Counter[_Place] = Counter()

    def count(self, partner_id: str, mode: str, operation: str, status: int) -> None:
        """Count a call that was answered."""
        place = _Place(partner_id, mode, day_of(self._clock()), operation)
        with self._lock:
            self._calls[place] += 1
            self._refused[place] += 400 <= status < 500
            self._failed[place] += status >= 500
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="handlens-usage", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def flush(self) -> None:
        """Write what was counted.

        Raises:
            DatabaseError: it cannot be written now; it is kept.
        """
        with self._writing:
            with self._lock:
                calls, refused, failed = self._calls, self._refused, self._failed
                self._calls, self._refused, self._failed = Counter(), Counter(), Counter()
            if not calls:
                return
            try:
                with self._database.session() as session:
                    for place in sorted(calls):  # in one order, or two workers could wait for each other
                        _add(session, place, calls[place], refused[place], failed[place])
            except BaseException:
                with self._lock:
                    self._calls.update(calls)
                    self._refused.update(refused)
                    self._failed.update(failed)
                raise

    def close(self) -> None:
        """Stop, and write what is left."""
        self._stopping.set()
        atexit.unregister(self.close)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5)
        self._try()

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS):
            self._try()

    def _try(self) -> None:
        try:
            self.flush()
        except HandlensError as error:
            _log.warning("usage-not-written", reason=str(error))


def usage_of(
    session: Session, partner_id: str, mode: str, first: str | None, last: str | None, today: str
) -> dict[str, Any]:
    """The JSON object of the counts from day to day, both included.

    Raises:
        PartnerError: the days do not follow each other, or are too many (422 range-invalid).
    """
    until = date.fromisoformat(last or today)
    since = date.fromisoformat(first) if first else date.fromordinal(max(1, until.toordinal() - _USUAL_DAYS + 1))
    if not timedelta(0) <= until - since < timedelta(days=_MOST_DAYS):
        raise PartnerError(
            422, "range-invalid", f"`from` must be at most {_MOST_DAYS - 1} days before `to`, and not after it"
        )
    query = select(UsageRow).where(
        UsageRow.partner_id == partner_id,
        UsageRow.mode == mode,
        UsageRow.day >= since.isoformat(),
        UsageRow.day <= until.isoformat(),
    )
    rows = session.scalars(query.order_by(UsageRow.day, UsageRow.operation))
    return {"from": since.isoformat(), "to": until.isoformat(), "mode": mode, "days": _by_day(rows)}


def _by_day(rows: Iterable[UsageRow]) -> list[dict[str, Any]]:
    days: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        counts = {name: getattr(row, name) for name in ("operation", "calls", "refused", "failed")}
        days.setdefault(row.day, []).append(counts)
    return [{"day": day, "operations": operations} for day, operations in days.items()]


def _add(session: Session, place: _Place, calls: int, refused: int, failed: int) -> None:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(UsageRow).values(**place._asdict(), calls=calls, refused=refused, failed=failed)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["partner_id", "mode", "day", "operation"],
            set_={
                "calls": UsageRow.calls + calls,
                "refused": UsageRow.refused + refused,
                "failed": UsageRow.failed + failed,
            },
        )
    )
