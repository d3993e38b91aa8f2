"""Who calls, and whether they may: every view of the partner endpoint names a scope, or says that it is open.

Rules:

1. A view that says neither is closed by `handlens_server.access`, like every view that nobody thought about, and a
   test that walks the URLs finds it.
2. Credentials are looked up with their key and their partner on every call: what is revoked or disabled stops at once.
3. They are looked at before anything of the body is, but for its length and, where it is signed, its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from flask import g, request
from sqlalchemy import select

from handlens_server.access import checked_by, public
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.partners import hash_of
from handlens_server.partner.profiles import Profile, read_profile
from handlens_server.partner.steady import Steady
from handlens_server.partner.tables import KeyRow, PartnerRow, TokenRow
from handlens_server.services import Services
from handlens_server.times import parse_time

__all__ = ["Caller", "Guard", "caller"]

_View = TypeVar("_View", bound=Callable[..., Any])
_CHALLENGE = 'Bearer realm="handlens-partner"'
_CONTRACT = "1"
_OPERATION = "partner_operation"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a partner, by one of its keys. `mode` is live or test."""

    partner_id: str
    profile: Profile
    mode: str
    key_id: str
    scopes: frozenset[str]

    @property
    def is_test(self) -> bool:
        """Whether it works in the sandbox."""
        return self.mode == "test"

    @property
    def limits(self) -> Mapping[str, int]:
        """requests_per_minute, concurrent."""
        return self.profile.limits

    @property
    def quotas(self) -> Mapping[str, int]:
        """requests_per_day, items."""
        return self.profile.quotas


def caller() -> Caller:
    """Who calls the view that runs."""
    found: Caller = g.partner_caller
    return found


class Guard:
    """Marks views, and checks calls to them."""

    def __init__(self, services: Services, steady: Steady) -> None:
        self._services = services
        self._steady = steady

    def needs(self, operation: str, scope: str = "") -> Callable[[_View], _View]:
        """Mark the view of a contract's operation, that needs a scope, or any ("")."""

        def mark(view: _View) -> _View:
            setattr(view, _OPERATION, operation)
            return checked_by(lambda: self._check(operation, scope))(view)

        return mark

    def open_to_all(self, operation: str) -> Callable[[_View], _View]:
        """Mark the view of an operation that anybody may call."""

        def mark(view: _View) -> _View:
            setattr(view, _OPERATION, operation)
            return public(view)

        return mark

    def _check(self, operation: str, scope: str) -> None:
        g.partner_operation = operation
        self._steady.before_access(operation)
        now = self._services.clock()
        has_token = request.authorization is not None and request.authorization.type == "bearer"
        is_signed = "Signature" in request.headers or "Signature-Input" in request.headers
        if has_token and is_signed:
            raise _refused("credentials-ambiguous", "the call has a token and a signature: send one of them")
        if not has_token and not is_signed:
            raise _refused("credentials-missing", "this needs `Authorization: Bearer TOKEN`, or a message signature")
        key, scopes = self._by_signature(now) if is_signed else self._by_token(now)
        g.partner_caller = self._caller(key, scopes)
        if scope and scope not in g.partner_caller.scopes:
            raise PartnerError(403, "scope-missing", f"this needs the scope {scope}, which these credentials have not")
        self._steady.after_access(g.partner_caller)

    def _by_token(self, now: datetime) -> tuple[KeyRow, str]:
        shown = hash_of((request.authorization and request.authorization.token) or "")
        with self._services.database.read() as session:
            query = select(TokenRow, KeyRow).join(KeyRow, KeyRow.key_id == TokenRow.key_id)
            found = session.execute(query.where(TokenRow.token == shown)).one_or_none()
        if found is None:
            raise _refused("token-invalid", "this token is none: get one at POST /partner/v1/oauth/token")
        token, key = found
        if key.revoked_at is not None:
            raise _refused("key-revoked", "the key of this token was revoked")
        if parse_time(token.expires_at) <= now:
            raise _refused("token-expired", "this token is over: get a new one at POST /partner/v1/oauth/token")
        return key, token.scopes

    def _by_signature(self, now: datetime) -> tuple[KeyRow, str]:
        from handlens_server.partner.incoming import MAX_BODY
        from handlens_server.partner.signatures import SignedRequest, check_body, spend_nonce, verify_signature

        request.max_content_length = MAX_BODY
        has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
        signed = SignedRequest(request.method, _wire_address(), dict(request.headers.items()), has_body)
        verified, key = verify_signature(signed, self._services.database, now)
        check_body(verified, request.get_data(cache=True))
        spend_nonce(self._services.database, verified, now)
        return key, key.scopes

    def _caller(self, key: KeyRow, scopes: str) -> Caller:
        with self._services.database.read() as session:
            row = session.get_one(PartnerRow, key.partner_id)
        if row.is_disabled:
            raise PartnerError(403, "partner-disabled", "this partner's calls are switched off: ask the operator")
        profile = read_profile(row.partner_id, row.profile)
        if profile.contract != _CONTRACT:
            raise PartnerError(403, "version-not-allowed", f"this partner's contract is version {profile.contract}")
        return Caller(row.partner_id, profile, key.mode, key.key_id, frozenset(scopes.split()))


def _wire_address() -> str:
    """The address as it came: what is signed must not be decoded and encoded again."""
    raw = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "")
    if not raw.startswith("/"):
        raw = request.full_path if request.query_string else request.path
    return f"{request.scheme}://{request.host}{raw}"


def _refused(code: str, message: str) -> PartnerError:
    error = "" if code == "credentials-missing" else ', error="invalid_token"'
    return PartnerError(401, code, message, challenge=_CHALLENGE + error)
