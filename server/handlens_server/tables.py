"""The tables of the backend's database, for SQLite and PostgreSQL alike.

Rules:

1. Every change to the catalogue takes a number from `sequences` (`database.next_sequence`); the row
   is locked until the transaction ends, so numbers become visible in their order.
2. An item is never deleted here, only withdrawn: what devices must forget has to be told to them.
3. Times are ISO 8601 text in UTC, as in the wire records. Documents are JSON text, as in the wire records.
4. Pixels are files under the data folder, named by their SHA-256; tables hold the names.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["COUNT", "Base", "DeviceRow", "EmbeddingRow", "EventRow", "ItemRow", "PackRule", "SequenceRow"]


COUNT = BigInteger().with_variant(Integer(), "sqlite")  # of what may pass two thousand million


class Base(DeclarativeBase):
    """Base of all tables."""


class SequenceRow(Base):
    """A counter: catalogue (changes of items)."""

    __tablename__ = "sequences"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(Integer)


class ItemRow(Base):
    """An item of the catalogue: `record` is its JSON (`Item.to_dict`); `picture` the SHA-256 of its picture's file."""

    __tablename__ = "items"
    item_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, index=True)  # of its last change
    is_withdrawn: Mapped[bool] = mapped_column(default=False)
    feed: Mapped[str] = mapped_column(String(200))  # which import brought it
    kind: Mapped[str] = mapped_column(String(40))
    object_type: Mapped[str] = mapped_column(String(40), index=True)
    locale: Mapped[str] = mapped_column(String(40))
    audience: Mapped[str] = mapped_column(String(80))
    quality: Mapped[float] = mapped_column(Float)
    record: Mapped[str] = mapped_column(Text)
    picture: Mapped[str | None] = mapped_column(String(64), index=True)


class EmbeddingRow(Base):
    """What a picture became in one embedding space, with one detector.

    `parts` is JSON: {"boxes": [[x_min, y_min, x_max, y_max], ...], "colours": {name: share}}, or a list of boxes alone;
    `codes` are the int8 codes one after another; `thumbnail` is WebP.
    """

    __tablename__ = "embeddings"
    picture: Mapped[str] = mapped_column(String(64), primary_key=True)
    space: Mapped[str] = mapped_column(String(120), primary_key=True)
    detector: Mapped[str] = mapped_column(String(120))
    parts: Mapped[str] = mapped_column(Text)
    codes: Mapped[bytes] = mapped_column(LargeBinary)
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary)


class PackRule(Base):
    """A pack: its name and the rule (JSON) that chooses its items."""

    __tablename__ = "packs"
    name: Mapped[str] = mapped_column(String(61), primary_key=True)
    rule: Mapped[str] = mapped_column(Text)


class DeviceRow(Base):
    """A device that enrolled: a random id and the hash of its token, nothing about its owner.

    `old_token` is the hash of the token before the last rotation: it works until the new one was used once.
    """

    __tablename__ = "devices"
    device_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    old_token: Mapped[str | None] = mapped_column(String(64), unique=True)
    rotate_after: Mapped[str] = mapped_column(String(40))
    enrolled_at: Mapped[str] = mapped_column(String(40))
    seen_on: Mapped[str] = mapped_column(String(10))  # the day of its last call, no finer
    is_revoked: Mapped[bool] = mapped_column(default=False)
    day: Mapped[str] = mapped_column(String(10), default="")  # the day that `day_events` counts
    day_events: Mapped[int] = mapped_column(Integer, default=0)


class EventRow(Base):
    """An event as it came, stored once by its id."""

    __tablename__ = "events"
    event_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.device_id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[str] = mapped_column(String(40))
    received_at: Mapped[str] = mapped_column(String(40))
    record: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("events_by_device", "device_id"), Index("events_by_arrival", "received_at"))
