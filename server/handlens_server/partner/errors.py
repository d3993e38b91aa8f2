"""What a partner's call is refused with. `handlens_server.problems` makes the answer; nothing else does.

Rules:

1. `code` is what a partner's program reads: the contract lists it (``x-problem-codes``), its meaning never changes.
2. A message never repeats a secret, a token or a signature, nor what belongs to another partner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from handlens.errors import HandlensError

__all__ = ["PartnerError", "Place"]

_MOST_PLACES = 1000
_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Place:
    """A wrong place of the request: a JSON pointer, or ``query:NAME``; of a batch, the row from 0 and its id."""

    pointer: str
    detail: str
    code: str = ""
    row: int | None = None
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        kept: dict[str, Any] = {"pointer": self.pointer[:500], "detail": self.detail[:_MOST_CHARACTERS] or "wrong"}
        if self.code:
            kept["code"] = self.code
        if self.row is not None:
            kept["row"] = self.row
        if self.id:
            kept["id"] = self.id
        return kept


class PartnerError(HandlensError):
    """A call that is refused. `retry_after` is in seconds; one that has it is retryable.

    `challenge` becomes ``WWW-Authenticate``; `oauth` is the `error` of RFC 6749, for the token operation.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        places: Iterable[Place] = (),
        retry_after: int | None = None,
        challenge: str = "",
        oauth: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.places = tuple(places)[:_MOST_PLACES]
        self.retry_after = retry_after
        self.challenge = challenge
        self.oauth = oauth

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.retry_after is not None
