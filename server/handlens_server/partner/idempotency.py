"""Writes that are made once, however often they are asked for, and whatever dies in the middle.

Rules:

1. A write belongs to `owner` (a partner, and whether with a test key) and key. Its answer is kept 24 hours in the same
   transaction as the write itself: there is never one without the other.
2. Before that, a transaction of its own claims the key, so that a second request with it learns that the first is
   running. A claim that its worker does not finish (it was killed) ends after `claim_seconds`; then another takes it.
3. Who keeps an answer holds the lock of the key's row to the end, and must still have the claim. So a worker that was
   only slow, and lost its claim, writes nothing; and one that keeps its answer cannot lose it.
4. An attempt that fails lets go of the key: nothing was written, and the same key may be tried again.
5. Each claim removes a few keys that expired, so the table does not grow with time.

::

    kept, is_replayed = writes.once(owner, key, fingerprint, lambda session: Kept(201, b"{}"))

A write that has a transaction of its own tells its answer there: `writes.around(owner, key, fingerprint, work)`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from handlens.faults import fault_point
from handlens_server.database import Database, DatabaseError
from handlens_server.partner.refusals import KeyInUseError, KeyReusedError
from handlens_server.partner.stability_tables import PartnerWriteRow
from handlens_server.times import Clock, parse_time, text_of

__all__ = ["Keep", "Kept", "Writes", "forget_writes"]

_log = structlog.get_logger("handlens_server.partner")
_SWEPT = 4  # expired keys removed with each claim


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer of a write, as it is given again."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request that wants to write."""

    owner: str
    key: str
    fingerprint: str
    claim: str
    now: datetime

    @property
    def is_its_row(self) -> tuple[object, object]:
        return self.owner, self.key


class Keep:
    """Keeps the answer of one attempt, in the transaction of its write."""

    def __init__(self, attempt: _Attempt, expires_at: str) -> None:
        self._attempt = attempt
        self._expires_at = expires_at
        self.is_done = False

    def lock(self, session: Session) -> PartnerWriteRow:
        """Lock the key's row until the transaction ends.

        Raises:
            KeyInUseError: this attempt was so late that another took its key.
        """
        row = session.get(PartnerWriteRow, self._attempt.is_its_row, with_for_update=True)
        if row is None or row.claim != self._attempt.claim:
            raise _in_use(1)
        return row

    def __call__(self, session: Session, kept: Kept) -> None:
        """Keep the answer, if this attempt still has its key; raises as `lock`."""
        row = self.lock(session)
        row.status, row.content_type, row.body = kept.status, kept.content_type, kept.body
        row.expires_at = self._expires_at
        session.flush()
        self.is_done = True


class Writes:
    """The writes of one database. Safe to share between threads, workers and machines."""

    def __init__(self, database: Database, clock: Clock, *, claim_seconds: int = 30, keep_hours: int = 24) -> None:
        self._database = database
        self._clock = clock
        self._claim = timedelta(seconds=claim_seconds)
        self._keep = timedelta(hours=keep_hours)

    def once(self, owner: str, key: str, fingerprint: str, write: Callable[[Session], Kept]) -> tuple[Kept, bool]:
        """The answer of `write`, which runs in a transaction at most once for the key; and whether it is given again.

        Raises:
            KeyReusedError: the key came before with another request. KeyInUseError: that request is still running.
            DatabaseError: nothing was written, or it cannot be known: the same key is safe to send again.
        """

        def work(keep: Keep) -> Kept:
            with self._database.session() as session:
                keep.lock(session)
                kept = write(session)
                keep(session, kept)
            return kept

        return self.around(owner, key, fingerprint, work)

    def around(self, owner: str, key: str, fingerprint: str, work: Callable[[Keep], Kept]) -> tuple[Kept, bool]:
        """As `once`, for work with a transaction of its own, which calls ``keep(session, answer)`` in it.

        Where it did not, because it found that nothing was left to write, its answer is kept afterwards.
        """
        attempt = _Attempt(owner, key, fingerprint, secrets.token_hex(16), self._clock())
        known = self._known(attempt) or self._claimed(attempt)
        if known is not None:
            return known, True
        fault_point("partner.write.claimed")
        keep = Keep(attempt, text_of(attempt.now + self._keep))
        try:
            kept = work(keep)
            if not keep.is_done:
                with self._database.session() as session:
                    keep(session, kept)
            return kept, False
        except BaseException:
            self._let_go(attempt)
            raise

    def _known(self, attempt: _Attempt) -> Kept | None:
        """What is known without a lock: the answer, or that this request is refused."""
        with self._database.read() as session:
            row = session.get(PartnerWriteRow, attempt.is_its_row)
            return None if row is None else _judged(row, attempt)

    def _claimed(self, attempt: _Attempt) -> Kept | None:
        """Take the key for this attempt; or the answer, when another attempt has finished meanwhile."""
        with self._database.session() as session:
            _sweep(session, attempt.now)
            if _inserted(session, self._new_row(attempt)):
                return None
            row = session.get(PartnerWriteRow, attempt.is_its_row, with_for_update={"skip_locked": True})
            if row is None:  # somebody holds its lock: that request writes in this moment
                raise _in_use(1)
            known = _judged(row, attempt)
            if known is None:
                for name, value in self._new_row(attempt).items():
                    setattr(row, name, value)
            return known

    def _let_go(self, attempt: _Attempt) -> None:
        """Give the key free, unless the write was made after all: a commit can succeed whose answer never comes."""
        mine = delete(PartnerWriteRow).where(
            PartnerWriteRow.owner == attempt.owner,
            PartnerWriteRow.key == attempt.key,
            PartnerWriteRow.claim == attempt.claim,
            PartnerWriteRow.status.is_(None),
        )
        try:
            with self._database.session() as session:
                session.execute(mine)
        except DatabaseError as error:  # the claim ends by itself
            _log.warning("idempotency-key-not-let-go", reason=str(error))

    def _new_row(self, attempt: _Attempt) -> dict[str, object]:
        return {
            "owner": attempt.owner,
            "key": attempt.key,
            "fingerprint": attempt.fingerprint,
            "claim": attempt.claim,
            "claimed_until": text_of(attempt.now + self._claim),
            "expires_at": text_of(attempt.now + self._keep),
            "status": None,
            "content_type": "",
            "body": b"",
        }


def forget_writes(session: Session, owner: str) -> None:
    """Forget every key of `owner` whose write was made; one that is running ends as it would."""
    made = delete(PartnerWriteRow).where(PartnerWriteRow.owner == owner, PartnerWriteRow.status.is_not(None))
    session.execute(made)


def _judged(row: PartnerWriteRow, attempt: _Attempt) -> Kept | None:
    """What the row of a key means for an attempt: an answer, a refusal, or nothing: it may be taken."""
    now = text_of(attempt.now)
    if row.expires_at <= now:
        return None
    if row.status is None and row.claimed_until <= now:
        return None
    if row.fingerprint != attempt.fingerprint:
        raise KeyReusedError("this Idempotency-Key came before with another request: send a new key with a new request")
    if row.status is None:
        left = parse_time(row.claimed_until) - attempt.now
        raise _in_use(int(left.total_seconds()) + 1)
    return Kept(row.status, row.body, row.content_type)


def _in_use(seconds: int) -> KeyInUseError:
    return KeyInUseError("the first request with this Idempotency-Key is still running: ask again later", seconds)


def _inserted(session: Session, row: dict[str, object]) -> bool:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(PartnerWriteRow).values(row).on_conflict_do_nothing().returning(PartnerWriteRow.claim)
    return session.execute(insert).first() is not None


def _sweep(session: Session, now: datetime) -> None:
    old = (
        select(PartnerWriteRow.owner, PartnerWriteRow.key)
        .where(PartnerWriteRow.expires_at <= text_of(now))
        .order_by(PartnerWriteRow.expires_at)
        .limit(_SWEPT)
        .with_for_update(skip_locked=True)
    )
    for owner, key in session.execute(old).all():
        session.execute(delete(PartnerWriteRow).where(PartnerWriteRow.owner == owner, PartnerWriteRow.key == key))
