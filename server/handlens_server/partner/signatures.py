"""HTTP message signatures (RFC 9421) of devices, by `http-message-signatures`; the digest of the body is RFC 9530.

Rules:

1. Covered are ``@method``, ``@authority`` and ``@path``, ``@query`` where there is a query, and ``content-digest``
   where there is a body, which must then have that digest.
2. `created` may differ from this server's clock by `MAX_SKEW`. A nonce is taken once by each key, and remembered for as
   long as a signature with it could be in time; the database's own key decides between two that come at once.
3. The nonce is stored after the signature was verified: strangers cannot fill the table.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, InvalidSignature, algorithms
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from handlens_server.database import Database
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.tables import KeyRow, NonceRow
from handlens_server.times import text_of

__all__ = ["MAX_SKEW", "TAG", "SignedRequest", "check_body", "spend_nonce", "verify_signature"]

MAX_SKEW = timedelta(seconds=300)
TAG = "handlens-partner"
_NONCE = re.compile(r"[A-Za-z0-9_+/=-]{8,64}")
_ALWAYS = ('"@method"', '"@authority"', '"@path"')


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature is about: `url` is absolute, as it came on the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    has_body: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that is good: its key, its nonce, when it was made, and what it covers."""

    key_id: str
    nonce: str
    created: datetime
    covered: Mapping[str, str]


class _Resolver(HTTPSignatureKeyResolver):
    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_unknown = False
        self.row: KeyRow | None = None

    def resolve_public_key(self, key_id: str) -> Any:
        with self._database.read() as session:
            row = session.get(KeyRow, key_id[:60])
        if row is None or row.kind != "ed25519" or row.revoked_at is not None:
            self.is_unknown = True
            return None
        self.row = row
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(row.check))


class _Verifier(HTTPMessageVerifier):
    def __init__(self, resolver: _Resolver, now: datetime) -> None:
        super().__init__(signature_algorithm=algorithms.ED25519, key_resolver=resolver)
        self._now = now

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        """By the server's clock, in both directions alike."""
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int:
            raise _refused("signature-incomplete", "the signature has no `created`: give the seconds since 1970")
        if abs(created - self._now.timestamp()) > MAX_SKEW.total_seconds():
            raise _refused(
                "signature-expired",
                f"`created` is more than {MAX_SKEW.total_seconds():.0f} s from this server's clock, "
                f"{text_of(self._now)}: set the device's clock and sign again",
            )
        if expires is not None and expires < self._now.timestamp():
            raise _refused("signature-expired", "`expires` is over: sign again")


def verify_signature(request: SignedRequest, database: Database, now: datetime) -> tuple[Verified, KeyRow]:
    """The signature of a request and its key.

    Raises:
        PartnerError: it is malformed, of an unknown key, out of time, wrong, or does not cover what it must (401).
    """
    resolver = _Resolver(database)
    try:
        results = _Verifier(resolver, now).verify(request, expect_tag=TAG)
    except InvalidSignature as error:
        raise _refusal(error, resolver) from error
    except (ValueError, TypeError) as error:
        raise _refused("signature-malformed", "Signature or Signature-Input cannot be read") from error
    if len(results) != 1 or resolver.row is None:
        raise _refused("signature-malformed", f"there are several signatures with the tag {TAG}: send one")
    (result,) = results
    wanted = [
        *_ALWAYS,
        *(['"@query"'] if "?" in request.url else []),
        *(['"content-digest"'] if request.has_body else []),
    ]
    missing = [name for name in wanted if name not in result.covered_components]
    if missing:
        raise _refused("signature-incomplete", f"the signature must cover {' '.join(missing)} too")
    nonce = str(result.parameters.get("nonce", ""))
    if not _NONCE.fullmatch(nonce):
        raise _refused(
            "signature-incomplete", "the signature needs a `nonce` of 8 to 64 plain characters, new each time"
        )
    created = datetime.fromtimestamp(int(result.parameters["created"]), timezone.utc)
    return Verified(resolver.row.key_id, nonce, created, result.covered_components), resolver.row


def check_body(verified: Verified, body: bytes) -> None:
    """Refuse a body that has another digest than the one that was signed.

    Raises:
        PartnerError: it is another, or the digest cannot be read (401 digest-mismatch).
    """
    try:
        is_checked = HTTPMessageVerifier.content_digest_class.verify_components(verified.covered, body)
    except InvalidSignature as error:
        raise _refused("digest-mismatch", "Content-Digest is not that of the body: give sha-256 or sha-512") from error
    if body and not is_checked:
        raise _refused("signature-incomplete", "the signature must cover content-digest too")


def spend_nonce(database: Database, verified: Verified, now: datetime) -> None:
    """Take the nonce, for good.

    Raises:
        PartnerError: it was taken before (401 signature-replayed).
    """
    last = verified.created + 2 * MAX_SKEW
    try:
        with database.session() as session:
            session.execute(delete(NonceRow).where(NonceRow.expires_at < text_of(now)))
            session.add(NonceRow(key_id=verified.key_id, nonce=verified.nonce, expires_at=text_of(last)))
    except IntegrityError as error:
        raise _refused("signature-replayed", "this nonce was used before: sign again with a new one") from error


def _refusal(error: InvalidSignature, resolver: _Resolver) -> PartnerError:
    if resolver.is_unknown:
        return _refused("signature-key-unknown", "the signature's key is unknown or was revoked")
    if resolver.row is None:
        return _refused("signature-malformed", f"no signature with the tag {TAG} can be read: {str(error)[:120]}")
    return _refused("signature-invalid", "the signature is not that of this request: sign what is sent, as it is sent")


def _refused(code: str, message: str) -> PartnerError:
    return PartnerError(401, code, message, challenge='Bearer realm="handlens-partner"')
