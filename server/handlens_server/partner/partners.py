"""Partners and their keys in the database.

Rules:

1. A secret is made here from 256 bits of the system's randomness, shown once, and kept as its SHA-256: nobody can guess
   such a secret from its hash, so a slow hash would only slow every call (ADR 0016).
2. Of one kind and mode a partner has at most two keys that work: the old one and the new one, while it rotates.
3. What is revoked or disabled stops at once: tokens are looked up with their key and their partner.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens_server.partner.profiles import SCOPES, Profile, read_profile
from handlens_server.partner.tables import KeyRow, PartnerRow, TokenRow
from handlens_server.times import text_of

__all__ = [
    "KINDS",
    "MODES",
    "NewKey",
    "Partner",
    "PartnerSetupError",
    "add_partner",
    "find_partner",
    "hash_of",
    "is_secret_of",
    "list_keys",
    "list_partners",
    "new_device_key",
    "new_secret_key",
    "revoke_key",
    "set_disabled",
    "set_profile",
]

MODES = ("live", "test")
KINDS = ("secret", "ed25519")
_LIVE_KEYS = 2  # of one kind and mode: for rotation
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class PartnerSetupError(HandlensError):
    """A partner or a key is not as the operator thinks."""


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner with its profile."""

    partner_id: str
    profile: Profile
    is_disabled: bool
    created_at: str
    changed_at: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "partner": self.partner_id,
            "name": self.profile.name,
            "disabled": self.is_disabled,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
        }


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made. `secret` is shown now and never again: an OAuth secret, or a private key (PEM)."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"NewKey({self.key_id!r})"


def add_partner(session: Session, partner_id: str, profile: str, now: datetime) -> None:
    """Add a partner.

    Raises:
        PartnerSetupError: the id cannot be used, or is taken. ProfileError: the profile cannot be used.
    """
    if not _ID.fullmatch(partner_id):
        raise PartnerSetupError(f"partner {partner_id[:60]!r}: give at most 40 lower-case letters, digits and '-'")
    if session.get(PartnerRow, partner_id) is not None:
        raise PartnerSetupError(f"there is a partner {partner_id!r}: change it with `handlens-server partner set`")
    read_profile(partner_id, profile)
    at = text_of(now)
    session.add(PartnerRow(partner_id=partner_id, profile=_stored(profile), created_at=at, changed_at=at))


def set_profile(session: Session, partner_id: str, profile: str, now: datetime) -> None:
    """Give a partner another profile; raises as `add_partner`."""
    row = _row(session, partner_id)
    read_profile(partner_id, profile)
    row.profile, row.changed_at = _stored(profile), text_of(now)


def set_disabled(session: Session, partner_id: str, is_disabled: bool, now: datetime) -> None:
    """Refuse every call of a partner from now on, or take it back."""
    row = _row(session, partner_id)
    row.is_disabled, row.changed_at = is_disabled, text_of(now)


def find_partner(session: Session, partner_id: str) -> Partner:
    """The partner.

    Raises:
        PartnerSetupError: there is none with this id.
    """
    return _described(_row(session, partner_id))


def list_partners(session: Session) -> list[Partner]:
    """All partners, by id."""
    return [_described(row) for row in session.scalars(select(PartnerRow).order_by(PartnerRow.partner_id))]


def new_secret_key(session: Session, partner_id: str, mode: str, scopes: Iterable[str], now: datetime) -> NewKey:
    """A new OAuth client of the partner.

    Raises:
        PartnerSetupError: there is no such partner, scope or mode, or two such keys work already.
    """
    secret = f"hls_{secrets.token_urlsafe(32)}"
    return NewKey(_add_key(session, partner_id, mode, "secret", hash_of(secret), scopes, now), secret)


def new_device_key(
    session: Session,
    partner_id: str,
    mode: str,
    scopes: Iterable[str],
    now: datetime,
    *,
    public_key: bytes | None = None,
) -> NewKey:
    """A new key for HTTP message signatures: of the partner's own `public_key` (PEM), or of a pair that is made here.

    Raises:
        PartnerSetupError: as `new_secret_key`, or the public key is no Ed25519 key in PEM.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = ""
    if public_key is None:
        made = Ed25519PrivateKey.generate()
        private = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        raw = made.public_key().public_bytes_raw()
    else:
        raw = _raw_public_key(public_key)
    check = base64.b64encode(raw).decode()
    return NewKey(_add_key(session, partner_id, mode, "ed25519", check, scopes, now), private)


def revoke_key(session: Session, key_id: str, now: datetime) -> None:
    """End a key and its tokens.

    Raises:
        PartnerSetupError: there is no such key.
    """
    row = session.get(KeyRow, key_id)
    if row is None:
        raise PartnerSetupError(f"there is no key {key_id[:60]!r}: see `handlens-server partner show`")
    row.revoked_at = row.revoked_at or text_of(now)
    session.execute(delete(TokenRow).where(TokenRow.key_id == key_id))


def list_keys(session: Session, partner_id: str) -> list[dict[str, Any]]:
    """The partner's keys without what checks them, the oldest first."""
    query = select(KeyRow).where(KeyRow.partner_id == partner_id).order_by(KeyRow.created_at, KeyRow.key_id)
    names = ("key_id", "mode", "kind", "scopes", "created_at", "revoked_at")
    return [{name: getattr(row, name) for name in names} for row in session.scalars(query)]


def hash_of(secret: str) -> str:
    """What is stored of a secret: its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def is_secret_of(row: KeyRow, secret: str) -> bool:
    """Whether this is the key's secret, in constant time."""
    return row.kind == "secret" and row.revoked_at is None and hmac.compare_digest(row.check, hash_of(secret))


def _add_key(
    session: Session, partner_id: str, mode: str, kind: str, check: str, scopes: Iterable[str], now: datetime
) -> str:
    _row(session, partner_id, lock=True)
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not wanted:
        raise PartnerSetupError(f"scopes {' '.join(unknown) or 'are missing'}: give some of {' '.join(SCOPES)}")
    if mode not in MODES:
        raise PartnerSetupError(f"mode {mode!r}: give live or test")
    working = select(KeyRow.key_id).where(
        KeyRow.partner_id == partner_id, KeyRow.mode == mode, KeyRow.kind == kind, KeyRow.revoked_at.is_(None)
    )
    found = list(session.scalars(working.order_by(KeyRow.created_at)))
    if len(found) >= _LIVE_KEYS:
        raise PartnerSetupError(f"two {mode} {kind} keys work already: revoke one first, the older is {found[0]}")
    key_id = f"hl_{mode}_{secrets.token_hex(10)}"
    session.add(
        KeyRow(
            key_id=key_id,
            partner_id=partner_id,
            mode=mode,
            kind=kind,
            check=check,
            scopes=" ".join(wanted),
            created_at=text_of(now),
        )
    )
    return key_id


def _raw_public_key(pem: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise PartnerSetupError("the public key cannot be read: give an Ed25519 public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PartnerSetupError("the public key is of another kind: give an Ed25519 public key in PEM")
    return key.public_bytes_raw()


def _row(session: Session, partner_id: str, *, lock: bool = False) -> PartnerRow:
    row = session.get(PartnerRow, partner_id, with_for_update=lock)
    if row is None:
        raise PartnerSetupError(f"there is no partner {partner_id[:60]!r}: see `handlens-server partner list`")
    return row


def _stored(profile: str) -> str:
    return json.dumps(json.loads(profile), sort_keys=True)


def _described(row: PartnerRow) -> Partner:
    profile = read_profile(row.partner_id, row.profile)
    return Partner(row.partner_id, profile, row.is_disabled, row.created_at, row.changed_at)
