"""Keys, tokens and signatures of a partner, as its own client would make them.

Rules:

1. A secret is in no `repr`, no record and no error.
2. Signatures are made by `http-message-signatures` (RFC 9421) with Ed25519; what is wrong with them is chosen by the
   check: `created`, `nonce`, what is covered.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

from handlens.partner.exchange import Answer, Call
from handlens.partner.line import Line
from handlens.partner.outcomes import ConformanceError

__all__ = ["TAG", "Key", "Signer", "TokenBook", "read_key", "read_signer", "token_call"]

TAG = "handlens-partner"
_TOKEN = "/partner/v1/oauth/token"
_ALWAYS = ("@method", "@authority", "@path")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a partner."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of ``Authorization`` for the token operation."""
        return "Basic " + base64.b64encode(f"{self.key_id}:{self.secret}".encode()).decode()


def read_key(text: str, *, option: str = "--key") -> Key:
    """The key in ``ID:SECRET``.

    Raises:
        ConformanceError: it is none.
    """
    key_id, colon, secret = text.strip().partition(":")
    if not (key_id and colon and secret) or not secret.isascii() or not key_id.isascii():
        raise ConformanceError(
            f"{option} is not ID:SECRET: give what `handlens-server partner` printed, or ask for one"
        )
    return Key(key_id, secret)


def token_call(key: Key, **form: str) -> Call:
    """The call for a token."""
    headers = {"Authorization": key.basic, "Content-Type": "application/x-www-form-urlencoded"}
    return Call("POST", _TOKEN, headers, urlencode({"grant_type": "client_credentials", **form}).encode())


class TokenBook:
    """Tokens of one key, by their scopes; each is fetched once."""

    def __init__(self, line: Line, key: Key) -> None:
        self.line = line
        self.key = key
        self._known: dict[str, str] = {}

    def token(self, scope: str = "") -> str:
        """A token with these scopes, or with all of the key.

        Raises:
            ConformanceError: the server gives none.
        """
        if scope not in self._known:
            answer = self.line.send(token_call(self.key, **({"scope": scope} if scope else {})))
            self._known[scope] = _token_of(answer, self.key)
        return self._known[scope]


@dataclass(frozen=True, slots=True)
class Signer:
    """A device's key: signs calls (RFC 9421)."""

    key_id: str
    private_key: Any = field(repr=False)

    def sign(
        self,
        call: Call,
        authority: str,
        scheme: str,
        *,
        created: float,
        nonce: str = "",
        covered: Sequence[str] | None = None,
        key_id: str = "",
    ) -> Call:
        """The call with its digest and its signature; `created` is in seconds since 1970."""
        from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

        key = self.private_key

        class Resolver(HTTPSignatureKeyResolver):
            def resolve_private_key(self, key_id: str) -> Any:
                return key

        message = _Message(call.method, f"{scheme}://{authority}{call.target}", dict(call.headers))
        wanted = covered if covered is not None else [*_ALWAYS, *(["@query"] if "?" in call.target else [])]
        has_digest = bool(call.body) and (covered is None or "content-digest" in covered)
        HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Resolver()).sign(
            message,
            key_id=key_id or self.key_id,
            created=datetime.fromtimestamp(created, timezone.utc),
            nonce=nonce or secrets.token_urlsafe(18),
            label="sig1",
            tag=TAG,
            covered_component_ids=tuple(name for name in wanted if name != "content-digest"),
            body=call.body if has_digest else None,
        )
        return Call(call.method, call.target, message.headers, call.body)


@dataclass(slots=True)
class _Message:
    """What `http-message-signatures` signs."""

    method: str
    url: str
    headers: dict[str, str]


def read_signer(text: str) -> Signer:
    """The signer in ``ID:FILE``, whose file is an Ed25519 private key in PEM.

    Raises:
        ConformanceError: it is none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key_id, colon, name = text.strip().partition(":")
    if not (key_id and colon and name):
        raise ConformanceError("--signing-key is not ID:FILE: give the key's id and its private key in PEM")
    try:
        with open(name, "rb") as file:
            key = load_pem_private_key(file.read(100_000), None)
    except OSError as error:
        raise ConformanceError(f"{name} cannot be read ({error.strerror}): give the private key's file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConformanceError(f"{name} is no private key: give an Ed25519 key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConformanceError(f"{name} is a key of another kind: give an Ed25519 key in PEM")
    return Signer(key_id, key)


def _token_of(answer: Answer, key: Key) -> str:
    if answer.status == 404:
        raise ConformanceError(f"there is no {_TOKEN} on this server: check --base-url, and that the endpoint is open")
    if answer.status != 200 or not answer.media_type.endswith("json"):
        code = answer.member("code") if answer.media_type.endswith("json") else None
        told = f"{answer.status} {code or answer.media_type}"
        raise ConformanceError(f"the server gives no token for key {key.key_id} ({told}): check the key and its scopes")
    token = answer.member("access_token")
    if not isinstance(token, str) or not token:
        raise ConformanceError(
            "the server answered the call for a token without `access_token`: is this the right address?"
        )
    return token
