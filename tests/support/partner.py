"""A partner as tests need one: keys, tokens, signatures, and a client whose every exchange is held to the contract."""

from __future__ import annotations

import base64
import io
import json
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from flask.testing import FlaskClient
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from http_message_signatures.digests import ContentDigest
from openapi_core import Config, OpenAPI
from openapi_core.contrib.werkzeug import WerkzeugOpenAPIRequest, WerkzeugOpenAPIResponse
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request

from handlens_server.database import Database
from handlens_server.partner.contract_file import contract
from handlens_server.partner.partners import NewKey, add_partner, new_device_key, new_secret_key
from handlens_server.partner.profiles import SCOPES

__all__ = ["Contracted", "Signer", "contracted", "join", "key_of", "profile", "signed", "token_of"]

HOST = "localhost"
_OPENAPI: list[OpenAPI] = []


def profile(**more: Any) -> str:
    """A profile as JSON."""
    return json.dumps({"format": 1, "name": "Acme Phones", **more})


def join(database: Database, partner_id: str, now: datetime, **more: Any) -> None:
    """Add a partner."""
    with database.session() as session:
        add_partner(session, partner_id, profile(**more), now)


def key_of(
    database: Database,
    partner_id: str,
    now: datetime,
    *,
    mode: str = "live",
    scopes: Any = SCOPES,
    device: bool = False,
) -> NewKey:
    """A new key of a partner."""
    make = new_device_key if device else new_secret_key
    with database.session() as session:
        return make(session, partner_id, mode, scopes, now)


def token_of(client: FlaskClient, key: NewKey, scope: str = "") -> str:
    """A bearer token for a key."""
    answer = client.post(
        "/partner/v1/oauth/token",
        data={"grant_type": "client_credentials", **({"scope": scope} if scope else {})},
        headers={"Authorization": basic(key.key_id, key.secret)},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json["access_token"])  # type: ignore[index]


def basic(name: str, secret: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@dataclass
class Signer:
    """Signs requests as a device does; a test may change what it says."""

    key: NewKey
    now: datetime
    covered: tuple[str, ...] = ("@method", "@authority", "@path")
    tag: str = "handlens-partner"
    nonce: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def headers(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """All headers of the request, with its signature."""
        sent = {"Host": HOST, **(headers or {})}
        covered = list(self.covered)
        if "?" in path and "@query" not in covered:
            covered.append("@query")
        if body:
            sent["Content-Digest"] = ContentDigest.create(body)
            covered.append("content-digest")
        message = SimpleNamespace(method=method, url=f"http://{HOST}{path}", headers=sent)
        signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Private(self.key.secret))
        signer.sign(
            message,
            key_id=self.key.key_id,
            created=self.now,
            nonce=self.nonce or uuid.uuid4().hex,
            tag=self.tag,
            covered_component_ids=tuple(covered),
            use_existing_digest=bool(body),
            **self.more,
        )
        return sent


class _Private(HTTPSignatureKeyResolver):
    def __init__(self, pem: str) -> None:
        self._pem = pem

    def resolve_private_key(self, key_id: str) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return load_pem_private_key(self._pem.encode(), None)


def signed(
    client: FlaskClient, signer: Signer, method: str, path: str, body: bytes = b"", **headers: str
) -> TestResponse:
    """Send a signed request."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = signer.headers(method, path, body, more)
    return client.open(path, method=method, data=body or None, headers=sent)


class Contracted(FlaskClient):
    """Holds every answer to the contract, and every request too whose answer says that it was good."""

    def open(self, *args: Any, **more: Any) -> TestResponse:
        answer = super().open(*args, **more | {"buffered": True})
        if answer.request.path.startswith("/partner/v1/") and "/docs/" not in answer.request.path:
            contracted(answer)
        return answer


def contracted(answer: TestResponse) -> None:
    """Hold an answer to the contract.

    Raises:
        OpenAPIError: it breaks it.
    """
    openapi = _openapi()
    request = WerkzeugOpenAPIRequest(_copy(answer.request))
    if answer.status_code in (404, 405) and answer.json["code"] in ("not-found", "method-not-allowed"):  # type: ignore[index]
        return  # no operation at all
    openapi.validate_response(request, WerkzeugOpenAPIResponse(answer))
    if answer.status_code < 300 and "multipart" not in request.content_type:  # openapi-core reads no bytes in forms
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unsupported scheme type")  # of OAuth: the server checks tokens itself
            openapi.validate_request(request)


def _copy(request: Any) -> Request:
    """The request with its body to read again."""
    environ = {name: value for name, value in request.environ.items() if not name.startswith("werkzeug.")}
    environ["wsgi.input"].seek(0)
    return Request({**environ, "wsgi.input": io.BytesIO(environ["wsgi.input"].read())})


def _openapi() -> OpenAPI:
    if not _OPENAPI:
        readers = {
            "application/problem+json": json.loads,
            "text/html": bytes.decode,
            "image/webp": lambda data: data.decode("latin-1"),
        }
        settings = Config(extra_media_type_deserializers=readers)
        _OPENAPI.append(OpenAPI.from_dict(dict(contract().document), config=settings))
    return _OPENAPI[0]
