"""``POST /partner/v1/oauth/token``: OAuth 2 client credentials (RFC 6749, section 4.4), by Authlib.

Rules:

1. A token is 256 random bits, shown once and kept as its SHA-256, with its key, its scopes and its end.
2. Without `scope` a token has all scopes of its key; with one that the key has not, there is no token.
3. Every refusal carries the `error` of RFC 6749 beside the members of a problem. Whether a key is unknown or its secret
   is wrong is not told.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from authlib.oauth2 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidScopeError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from sqlalchemy import delete

from handlens_server.partner.errors import PartnerError
from handlens_server.partner.partners import hash_of, is_secret_of
from handlens_server.partner.profiles import read_profile
from handlens_server.partner.tables import KeyRow, PartnerRow, TokenRow
from handlens_server.services import Services
from handlens_server.times import text_of

__all__ = ["TokenEndpoint", "as_oauth"]

_CHALLENGE = 'Basic realm="handlens-partner", charset="UTF-8"'
_ADDRESS = "https://token.invalid"  # Authlib asks whether the address is secure; TLS ends in front of this server


def as_oauth(error: PartnerError) -> PartnerError:
    """A refusal of the form, as OAuth names it."""
    pointers = {place.pointer for place in error.places}
    known = {"/grant_type": "unsupported_grant_type", "/scope": "invalid_scope"}
    name = next((known[pointer] for pointer in known if pointers == {pointer}), "invalid_request")
    return _refused(name, str(error), error)


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, form: Mapping[str, str], authorization: str) -> None:
        super().__init__("POST", _ADDRESS, headers={"Authorization": authorization} if authorization else {})
        self.payload = BasicOAuth2Payload(dict(form))

    @property
    def form(self) -> Any:
        return self.payload.data


class _Client:
    """A key as Authlib asks for it."""

    def __init__(self, row: KeyRow, seconds: int) -> None:
        self.row = row
        self.seconds = seconds

    def check_client_secret(self, secret: str) -> bool:
        return is_secret_of(self.row, secret)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or self.row.scopes


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def validate_requested_scope(self) -> None:
        asked = (self.request.payload.scope or "").split()
        if set(asked) - set(self.request.client.row.scopes.split()):
            raise InvalidScopeError("The key has not all of these scopes.")


class TokenEndpoint(AuthorizationServer):  # type: ignore[misc]
    """Issues tokens."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        logging.getLogger("authlib").setLevel(logging.WARNING)  # below that it logs the tokens that it issues
        self._services = services
        self.register_grant(_Grant)
        self.register_token_generator("default", self._generate)

    def answer(self, form: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """The JSON object of a token.

        Raises:
            PartnerError: there is none for this request.
        """
        if authorization and ("client_id" in form or "client_secret" in form):
            raise _refused("invalid_request", "the client authenticates twice: use HTTP Basic or the form, not both")
        try:
            payload: dict[str, Any] = self.create_token_response(_Request(form, authorization))
        except ValueError as error:  # Basic credentials that are no UTF-8
            raise _refused("invalid_client", "the client is unknown, or its secret is wrong") from error
        return payload

    def create_oauth2_request(self, request: Any) -> Any:
        """See Authlib."""
        return request

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """See Authlib; nobody listens."""

    def handle_response(self, status: int, payload: Any, headers: Any) -> Any:
        """See Authlib: the payload of a token; anything else is raised."""
        if status == 200:
            return payload
        error = str(payload.get("error", "invalid_request"))
        if error == "invalid_client":
            raise _refused(error, "the client is unknown, or its secret is wrong")
        raise _refused(error, str(payload.get("error_description") or error.replace("_", " ")))

    def query_client(self, client_id: str) -> _Client | None:
        """See Authlib."""
        with self._services.database.read() as session:
            row = session.get(KeyRow, client_id[:60])
            if row is None or row.kind != "secret" or row.revoked_at is not None:
                return None
            partner = session.get_one(PartnerRow, row.partner_id)
            return _Client(row, read_profile(partner.partner_id, partner.profile).token_seconds)

    def save_token(self, token: Mapping[str, Any], request: Any) -> None:
        """See Authlib."""
        now = self._services.clock()
        row = TokenRow(
            token=hash_of(token["access_token"]),
            key_id=request.client.row.key_id,
            scopes=token["scope"],
            expires_at=text_of(now + timedelta(seconds=token["expires_in"])),
        )
        with self._services.database.session() as session:
            session.execute(delete(TokenRow).where(TokenRow.expires_at < text_of(now)))
            session.add(row)

    def _generate(self, *, client: _Client, scope: str | None = None, **_more: Any) -> dict[str, Any]:
        return {
            "access_token": f"hlt_{secrets.token_urlsafe(32)}",
            "token_type": "Bearer",
            "expires_in": client.seconds,
            "scope": client.get_allowed_scope(scope),
        }


def _refused(error: str, message: str, cause: PartnerError | None = None) -> PartnerError:
    is_client = error == "invalid_client"
    return PartnerError(
        401 if is_client else 400,
        f"oauth-{error.replace('_', '-')}",
        message,
        places=() if cause is None else cause.places,
        challenge=_CHALLENGE if is_client else "",
        oauth=error,
    )
