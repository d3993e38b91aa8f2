"""What checks ask with: calls of the contract's operations, with a token or a signature.

Rules:

1. A call has a token of all the key's scopes unless the check says otherwise, and a write has a new Idempotency-Key.
2. A 429 or 503 that nobody asked for is waited out, as long as ``Retry-After`` says and at most `MOST_WAIT`: the kit is
   a client as the contract wants it.
3. Times are the server's: what this machine's clock is off by is measured once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handlens.partner.access import Key, Signer, TokenBook
from handlens.partner.contract import Contract
from handlens.partner.exchange import Answer, Call
from handlens.partner.expecting import expect_status
from handlens.partner.line import Line
from handlens.partner.outcomes import FailedError, SkippedError

__all__ = ["MOST_WAIT", "Given", "Probe", "feedback", "new_name", "own_item", "without"]

MOST_WAIT = 65.0  # seconds
_TRIES = 4
_FAULT = "Handlens-Fault"


@dataclass(frozen=True, slots=True)
class Given:
    """What a user gave to check with, besides the key; what is missing makes checks be skipped."""

    signer: Signer | None = None
    foreign_key: Key | None = None
    expired_token: str = field(default="", repr=False)
    exhaust: bool = False  # whether a limit may be used up


class Probe:
    """Asks one server on behalf of one test key."""

    def __init__(
        self,
        line: Line,
        contract: Contract,
        tokens: TokenBook,
        given: Given,
        *,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.line = line
        self.contract = contract
        self.tokens = tokens
        self.given = given
        self.skew = 0.0  # seconds that the server's clock is ahead
        self.partner = ""
        self._wait = wait

    def call(
        self,
        operation_id: str,
        *,
        parts: Mapping[str, str] | None = None,
        query: str = "",
        value: Any = None,
        body: bytes | None = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """The answer of an operation: `value` is its JSON body, or `body` its bytes.

        An empty `token` sends no credentials, an empty `key` no Idempotency-Key.
        """
        call = self.build(
            operation_id,
            parts=parts,
            query=query,
            value=value,
            body=body,
            media_type=media_type,
            headers=headers,
            key=key,
        )
        return self.send(self.with_token(call, token))

    def build(
        self,
        operation_id: str,
        *,
        parts: Mapping[str, str] | None = None,
        query: str = "",
        value: Any = None,
        body: bytes | None = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Call:
        """The call of an operation, without credentials."""
        operation = self.contract.operations[operation_id]
        data = json.dumps(value).encode() if value is not None else body or b""
        named: dict[str, str] = {"Content-Type": media_type} if data and media_type else {}
        if operation.is_write and key != "":
            named["Idempotency-Key"] = key or str(uuid.uuid4())
        return Call(operation.method, operation.target(parts or {}, query), {**named, **(headers or {})}, data)

    def with_token(self, call: Call, token: str | None = None) -> Call:
        """The call with a bearer token: of all scopes, the one that is given, or ("") none."""
        found = self.tokens.token() if token is None else token
        return call.with_headers(Authorization=f"Bearer {found}") if found else call

    def signed(self, call: Call, *, seconds: float = 0.0, **more: Any) -> Call:
        """The call with a signature that was made so many `seconds` after now; `more` as for `Signer.sign`.

        Raises:
            SkippedError: no key for signatures was given.
        """
        if self.given.signer is None:
            raise SkippedError("needs a device's test key: --signing-key ID:FILE")
        scheme = self.line.url.partition(":")[0]
        return self.given.signer.sign(call, self.line.authority, scheme, created=self.now() + seconds, **more)

    def send(self, call: Call) -> Answer:
        """The answer, after what the server asked to wait for."""
        for _ in range(_TRIES - 1):
            answer = self.line.send(call)
            seconds = _seconds(answer)
            if seconds is None or _FAULT in call.headers:
                return answer
            self._wait(seconds)
        return self.line.send(call)

    def send_once(self, call: Call) -> Answer:
        """The answer, whatever it is."""
        return self.line.send(call)

    def wait(self, seconds: float) -> None:
        """Wait."""
        self._wait(seconds)

    def now(self) -> float:
        """The server's time, in seconds since 1970."""
        return time.time() + self.skew

    def lens(self, **more: Any) -> Answer:
        """The answer to the contract's own photo.

        Raises:
            FailedError: it is not answered.
        """
        value = {**self.contract.example("lens", "photo"), **more}
        return expect_status(self.call("lens", value=value), 200, what="the contract's own photo")

    def put_batch(self, name: str = "", *, items: int = 1) -> dict[str, Any]:
        """A new batch of own items, done.

        Raises:
            FailedError: it is refused.
        """
        batch_id = name or new_name("batch")
        value = {"items": [own_item(f"{batch_id}-{at}") for at in range(items)]}
        answer = self.call("putBatch", parts={"batch_id": batch_id}, value=value)
        found = expect_status(answer, 201, what="a new batch").json()
        if not isinstance(found, dict):
            raise FailedError("a batch is answered with no object")
        return found


def new_name(what: str) -> str:
    """A name that nobody used."""
    return f"check-{what}-{uuid.uuid4().hex[:12]}"


def own_item(own_id: str) -> dict[str, Any]:
    """An own item as the contract's example has it."""
    return {
        "id": own_id,
        "kind": "product",
        "object_type": "fashion",
        "title": f"Canvas shoe {own_id}",
        "link": "https://shop.example.com/p/1001",
        "annotations": {"shoe": 1.0},
        "locale": "en",
    }


def feedback(token: str, event_id: str = "", kind: str = "opened") -> dict[str, Any]:
    """Feedback of one event on the answer that the insights token is of."""
    event = {"event_id": event_id or str(uuid.uuid4()), "kind": kind, "at": "2026-03-01T12:00:01Z"}
    return {"insights_token": token, "events": [event]}


def without(call: Call, *names: str) -> Call:
    """The call without some headers."""
    kept = {name: value for name, value in call.headers.items() if name.lower() not in {one.lower() for one in names}}
    return replace(call, headers=kept)


def _seconds(answer: Answer) -> float | None:
    """How long to wait before the call is sent again; None where it is answered, or nobody says when."""
    text = answer.headers.get("retry-after", "")
    if answer.status not in (429, 503) or not text.isdigit():
        return None
    seconds = float(text)
    return seconds if seconds <= MOST_WAIT else None
