"""Reading an ``Idempotency-Key``, and what makes two requests the same (draft-ietf-httpapi-idempotency-key-header-07).

Rules:

1. The key is a string of structured fields (RFC 9651), ``"8e03978e-40d5"``; without its quotes it is taken as well,
   because most clients send it so. It has 1 to 255 printable ASCII characters.
2. Two requests are the same when method, path, query, media type and every byte of the body are.

>>> read_key('"8e03978e"') == read_key("8e03978e") == "8e03978e"
True
"""

from __future__ import annotations

import hashlib
import re

from handlens_server.partner.refusals import KeyMalformedError, KeyMissingError

__all__ = ["fingerprint_of", "read_key"]

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")  # visible, without the signs that separate: " , ; \
_ESCAPED = re.compile(r"\\(.)")


def read_key(header: str | None) -> str:
    """The key in the header's value.

    Raises:
        KeyMissingError: there is none. KeyMalformedError: it is no string of 1 to 255 characters.
    """
    text = (header or "").strip()
    if not text:
        raise KeyMissingError("a write needs the header `Idempotency-Key`: send a random UUID, the same with a retry")
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1])
    if _BARE.fullmatch(text) is None:
        raise KeyMalformedError("Idempotency-Key is malformed: send one string of 1 to 255 ASCII characters in quotes")
    return text


def fingerprint_of(method: str, target: str, media_type: str, body: bytes) -> str:
    """The SHA-256 of what makes a request; `target` is its path and query."""
    digest = hashlib.sha256()
    for part in (method.encode(), target.encode("utf-8", "surrogatepass"), media_type.lower().encode(), body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
