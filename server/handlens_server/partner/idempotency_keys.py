"""Reading an ``Idempotency-Key``, and what makes two requests the same (draft-ietf-httpapi-idempotency-key-header-07).

Rules:

1. The key is a string of structured fields (RFC 9651), ``"8e03978e-40d5"``; without its quotes it is taken as well,
   because most clients send it so. It has 8 to 64 letters, digits, and ``. _ : -``.
2. Two requests are the same when method, path, query, media type and every byte of the body are.

>>> read_key('"8e03978e"') == read_key("8e03978e") == "8e03978e"
True
"""

from __future__ import annotations

import hashlib
import re

from handlens_server.partner.refusals import KeyMalformedError, KeyMissingError

__all__ = ["fingerprint_of", "read_key"]

_KEY = re.compile(r'(?P<quote>"?)(?P<key>[A-Za-z0-9._:-]{8,64})(?P=quote)')


def read_key(header: str | None) -> str:
    """The key in the header's value.

    Raises:
        KeyMissingError: there is none. KeyMalformedError: it is no such string.
    """
    text = (header or "").strip(" \t")
    if not text:
        raise KeyMissingError("a write needs the header `Idempotency-Key`: send a random UUID, the same with a retry")
    found = _KEY.fullmatch(text)
    if found is None:
        raise KeyMalformedError("Idempotency-Key is malformed: send a UUID, or 8 to 64 letters, digits, '.', '_', ':'")
    return found["key"]


def fingerprint_of(method: str, target: str, media_type: str, body: bytes) -> str:
    """The SHA-256 of what makes a request; `target` is its path and query."""
    digest = hashlib.sha256()
    for part in (method.encode(), target.encode("utf-8", "surrogatepass"), media_type.lower().encode(), body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
