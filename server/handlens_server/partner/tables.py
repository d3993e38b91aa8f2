"""The tables of the partner endpoint; the rules of `handlens_server.tables` hold here too.

Rules:

1. No secret is here: of a key's secret and of a token there is the SHA-256, of a device's key the public half.
2. Everything is a partner's, and of one of its two modes: what a test key wrote never mixes with what is live.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from handlens_server.tables import COUNT, Base

__all__ = ["BatchRow", "FeedbackRow", "KeyRow", "NonceRow", "OwnItemRow", "PartnerRow", "TokenRow", "UsageRow"]

_PARTNER = "partners.partner_id"


class PartnerRow(Base):
    """A partner: `profile` is its JSON (`Profile.to_dict`)."""

    __tablename__ = "partners"
    partner_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    profile: Mapped[str] = mapped_column(Text)
    is_disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[str] = mapped_column(String(40))
    changed_at: Mapped[str] = mapped_column(String(40))


class KeyRow(Base):
    """A key of a partner: `kind` is secret (an OAuth client) or ed25519 (a device's signatures).

    `check` is the SHA-256 of the secret in hexadecimal, or the public key in base64; `scopes` have spaces between.
    """

    __tablename__ = "partner_keys"
    key_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    partner_id: Mapped[str] = mapped_column(ForeignKey(_PARTNER, ondelete="CASCADE"), index=True)
    mode: Mapped[str] = mapped_column(String(4))
    kind: Mapped[str] = mapped_column(String(10))
    check: Mapped[str] = mapped_column("check_value", String(64))
    scopes: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[str] = mapped_column(String(40))
    revoked_at: Mapped[str | None] = mapped_column(String(40))


class TokenRow(Base):
    """A bearer token: its SHA-256, and what it may do until when."""

    __tablename__ = "partner_tokens"
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("partner_keys.key_id", ondelete="CASCADE"), index=True)
    scopes: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[str] = mapped_column(String(40), index=True)


class NonceRow(Base):
    """A nonce that a signature used, kept until no signature with it could be in time."""

    __tablename__ = "partner_nonces"
    key_id: Mapped[str] = mapped_column(ForeignKey("partner_keys.key_id", ondelete="CASCADE"), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[str] = mapped_column(String(40), index=True)


class BatchRow(Base):
    """A batch of own items that was done: the SHA-256 of its body, and the JSON of its answer."""

    __tablename__ = "partner_batches"
    partner_id: Mapped[str] = mapped_column(ForeignKey(_PARTNER, ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(4), primary_key=True)
    batch_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[str] = mapped_column(String(40))
    answer: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("partner_batches_by_arrival", "partner_id", "mode", "received_at", "batch_id"),)


class OwnItemRow(Base):
    """An own item as the partner's last batch has it (`record` is `Item.to_dict`); live ones are in the catalogue too.

    `is_withdrawn` says that the partner itself withdrew it: what an operator withdrew, no batch brings back.
    """

    __tablename__ = "partner_items"
    partner_id: Mapped[str] = mapped_column(ForeignKey(_PARTNER, ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(4), primary_key=True)
    item_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    record: Mapped[str] = mapped_column(Text)
    is_withdrawn: Mapped[bool] = mapped_column(default=False)


class FeedbackRow(Base):
    """What a user did with an answer, stored once by the event's id."""

    __tablename__ = "partner_feedback"
    partner_id: Mapped[str] = mapped_column(ForeignKey(_PARTNER, ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(4), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[str] = mapped_column(String(40))
    received_at: Mapped[str] = mapped_column(String(40), index=True)
    record: Mapped[str] = mapped_column(Text)


class UsageRow(Base):
    """The calls of a day (UTC): all of them, those answered 4xx, and those answered 5xx."""

    __tablename__ = "partner_usage"
    partner_id: Mapped[str] = mapped_column(ForeignKey(_PARTNER, ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(4), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    operation: Mapped[str] = mapped_column(String(40), primary_key=True)
    calls: Mapped[int] = mapped_column(COUNT, default=0)
    refused: Mapped[int] = mapped_column(COUNT, default=0)
    failed: Mapped[int] = mapped_column(COUNT, default=0)
