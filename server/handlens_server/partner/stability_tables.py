"""The tables of what keeps the endpoint steady: writes that were made, requests that were counted."""

from __future__ import annotations

from sqlalchemy import Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from handlens_server.tables import COUNT, Base

__all__ = ["PartnerCountRow", "PartnerWriteRow"]


class PartnerWriteRow(Base):
    """A write by its Idempotency-Key: claimed by a worker while `status` is nothing, then with its answer.

    `fingerprint` is the SHA-256 of the request; `claim` names the attempt that may finish it, until `claimed_until`.
    """

    __tablename__ = "partner_writes"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    claim: Mapped[str] = mapped_column(String(32))
    claimed_until: Mapped[str] = mapped_column(String(40))
    expires_at: Mapped[str] = mapped_column(String(40))
    status: Mapped[int | None] = mapped_column(Integer)
    content_type: Mapped[str] = mapped_column(String(120), default="")
    body: Mapped[bytes] = mapped_column(LargeBinary, default=b"")

    __table_args__ = (Index("partner_writes_by_expiry", "expires_at"),)


class PartnerCountRow(Base):
    """How many of something a partner used on a day (UTC)."""

    __tablename__ = "partner_counts"
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    what: Mapped[str] = mapped_column(String(40), primary_key=True)
    used: Mapped[int] = mapped_column(COUNT)
