"""Devices: how one enrols, proves who it is, gets a new token, and is refused.

Rules:

1. A device is a random id. Nothing is known about its owner, and of its calls only the day of the last one is kept.
2. A token is 256 random bits. The database holds its SHA-256 only; hashes are compared in constant time.
3. A rotated token stays good until the new one was used once: a device that never received the answer still has one
   that works, and asks again.
4. An id enrols once. Whoever asks for it again must show its token, and gets a new one.
5. The limit of a day counts newly stored events. It is checked before a batch is stored, never in its middle, so that
   it is passed by less than one batch.

Every function works inside the transaction of its `session`; the clock is passed in.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens.wire.fields import Fields
from handlens_server.config import Config
from handlens_server.tables import DeviceRow
from handlens_server.times import day_of, text_of

__all__ = [
    "Credentials",
    "Device",
    "DeviceExistsError",
    "DeviceOverLimitError",
    "DeviceRevokedError",
    "Enrolment",
    "EnrolmentRefusedError",
    "TokenUnknownError",
    "UnknownDeviceError",
    "authenticate",
    "claim",
    "count_events",
    "enrol",
    "list_devices",
    "rotate",
    "set_revoked",
]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class DeviceExistsError(HandlensError):
    """This id is enrolled already."""


class EnrolmentRefusedError(HandlensError):
    """The enrolment key is wrong."""


class TokenUnknownError(HandlensError):
    """The token belongs to no device."""


class DeviceRevokedError(HandlensError):
    """The operator revoked the device."""


class UnknownDeviceError(HandlensError):
    """There is no device with this id."""


class DeviceOverLimitError(HandlensError):
    """The device has stored as many events as a day allows; `retry_after` is in seconds."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(f"this device has stored its {limit} events of today: send the others tomorrow (UTC)")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a device sends to enrol."""

    device_id: str
    enrolment_key: str

    @classmethod
    def from_dict(cls, values: object) -> Enrolment:
        """Read the decoded JSON object.

        Raises:
            DecodeError: the id is missing or no random UUID.
        """
        fields = Fields(values, what="enrolment")
        device_id = fields.text("device_id")
        if not _UUID.fullmatch(device_id):
            raise fields.wrong("device_id", "a random UUID in lower case")
        return cls(device_id, fields.text("enrolment_key", ""))


@dataclass(frozen=True, slots=True)
class Credentials:
    """A new token, and the time after which the device should ask for the next."""

    token: str
    rotate_after: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"token": self.token, "rotate_after": self.rotate_after}


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the operator sees it."""

    device_id: str
    enrolled_at: str
    seen_on: str
    is_revoked: bool
    events_today: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def enrol(session: Session, wanted: Enrolment, token: str, now: datetime, config: Config) -> Credentials:
    """Enrol a device; `token` is what it showed, empty for a new device.

    Raises:
        EnrolmentRefusedError: the key is wrong. DeviceExistsError: the id is taken, and `token` is not its token.
        DeviceRevokedError: the device was revoked.
    """
    if not hmac.compare_digest(config.enrolment_key.encode(), wanted.enrolment_key.encode("utf-8", "replace")):
        raise EnrolmentRefusedError("the enrolment key is wrong: ask the operator of this server for the right one")
    row = session.get(DeviceRow, wanted.device_id, with_for_update=True)
    if row is None:
        return _enrol_new(session, wanted.device_id, now, config)
    if not _is_token_of(row, _hash(token)):
        raise DeviceExistsError("this device_id is enrolled: send its token, or enrol with a new random id")
    return rotate(session, token, now, config)


def authenticate(session: Session, token: str, *, even_revoked: bool = False) -> str:
    """The id of the device whose token this is.

    Raises:
        TokenUnknownError: no device has it. DeviceRevokedError: the device was revoked, unless `even_revoked`.
    """
    return _find(session, token, even_revoked=even_revoked).device_id


def claim(session: Session, token: str, now: datetime, *, even_revoked: bool = False) -> DeviceRow:
    """The row of the device whose token this is, locked until the transaction ends; the token counts as used.

    Raises:
        TokenUnknownError: no device has it. DeviceRevokedError: the device was revoked, unless `even_revoked`.
    """
    row = _find(session, token, lock=True, even_revoked=even_revoked)
    if row.token == _hash(token):
        row.old_token = None
    row.seen_on = day_of(now)
    return row


def rotate(session: Session, token: str, now: datetime, config: Config) -> Credentials:
    """A new token for the device that shows `token`, which works until the new one is used.

    Raises:
        TokenUnknownError: no device has it. DeviceRevokedError: the device was revoked.
    """
    row = _find(session, token, lock=True)
    made = _credentials(now, config)
    row.old_token, row.token, row.rotate_after = _hash(token), _hash(made.token), made.rotate_after
    row.seen_on = day_of(now)
    return made


def count_events(row: DeviceRow, stored: int, now: datetime, limit: int) -> None:
    """Add `stored` new events to the device's day.

    Raises:
        DeviceOverLimitError: the day was full before.
    """
    today = day_of(now)
    before = row.day_events if row.day == today else 0
    if stored and before >= limit:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        raise DeviceOverLimitError(limit, int((midnight - now).total_seconds()) + 1)
    row.day, row.day_events = today, before + stored


def list_devices(session: Session, now: datetime) -> list[Device]:
    """All devices, by the time they enrolled."""
    today = day_of(now)
    rows = session.scalars(select(DeviceRow).order_by(DeviceRow.enrolled_at, DeviceRow.device_id))
    return [
        Device(row.device_id, row.enrolled_at, row.seen_on, row.is_revoked, row.day_events if row.day == today else 0)
        for row in rows
    ]


def set_revoked(session: Session, device_id: str, is_revoked: bool) -> None:
    """Refuse the device from now on, or take it back.

    Raises:
        UnknownDeviceError: there is none with this id.
    """
    row = session.get(DeviceRow, device_id, with_for_update=True)
    if row is None:
        raise UnknownDeviceError(f"there is no device {device_id[:80]!r}: see `handlens-server device list`")
    row.is_revoked = is_revoked


def _enrol_new(session: Session, device_id: str, now: datetime, config: Config) -> Credentials:
    made = _credentials(now, config)
    session.add(
        DeviceRow(
            device_id=device_id,
            token=_hash(made.token),
            old_token=None,
            rotate_after=made.rotate_after,
            enrolled_at=text_of(now),
            seen_on=day_of(now),
        )
    )
    session.flush()
    return made


def _credentials(now: datetime, config: Config) -> Credentials:
    return Credentials(secrets.token_urlsafe(32), text_of(now + timedelta(days=config.token_days)))


def _find(session: Session, token: str, *, lock: bool = False, even_revoked: bool = False) -> DeviceRow:
    shown = _hash(token)
    query = select(DeviceRow).where(or_(DeviceRow.token == shown, DeviceRow.old_token == shown))
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None or not _is_token_of(row, shown):
        raise TokenUnknownError("this token belongs to no device: enrol first, at POST /v1/devices")
    if row.is_revoked and not even_revoked:
        raise DeviceRevokedError("this device was revoked: ask the operator of this server")
    return row


def _is_token_of(row: DeviceRow, shown: str) -> bool:
    return hmac.compare_digest(row.token, shown) or hmac.compare_digest(row.old_token or "", shown)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
