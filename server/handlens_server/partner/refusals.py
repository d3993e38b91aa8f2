"""What a partner's request is refused with by the parts that keep the endpoint steady.

::

    PartnerRefusal
    ├── IdempotencyError            a write that may not be made
    │   ├── KeyMissingError         it has no Idempotency-Key
    │   ├── KeyMalformedError       the key is no plain word of 8 to 64 characters
    │   ├── KeyReusedError          the key came before with another request
    │   └── KeyInUseError           the first request with this key is still running
    ├── RateLimitedError            too many requests in a short time: slow down
    ├── QuotaExhaustedError         the quota of the day is used up
    ├── OverloadedError             this worker has more work than it can do in time
    ├── DeadlineUnreachableError    the answer cannot be made in what is left of `deadline_ms`
    ├── DeadlineTooShortError       no answer of this kind was ever made in so short a time
    ├── VersionGoneError            the contract version is past its sunset
    ├── FaultNotAllowedError        a live key asked for an injected fault
    └── FaultMalformedError         the fault that was asked for is none that there is

`retry_after` is in seconds, where waiting helps. `handlens_server.problems` says the status and the code of each.
"""

from __future__ import annotations

from handlens.errors import HandlensError

__all__ = [
    "DeadlineTooShortError",
    "DeadlineUnreachableError",
    "FaultMalformedError",
    "FaultNotAllowedError",
    "IdempotencyError",
    "KeyInUseError",
    "KeyMalformedError",
    "KeyMissingError",
    "KeyReusedError",
    "OverloadedError",
    "PartnerRefusal",
    "QuotaExhaustedError",
    "RateLimitedError",
    "VersionGoneError",
]


class PartnerRefusal(HandlensError):  # noqa: N818 -- the root of errors, no error of its own
    """A request of a partner is refused."""


class _LaterError(PartnerRefusal):
    """The same request may succeed after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)


class IdempotencyError(PartnerRefusal):
    """A write may not be made."""


class KeyMissingError(IdempotencyError):
    """A write has no Idempotency-Key."""


class KeyMalformedError(IdempotencyError):
    """An Idempotency-Key is no plain word of 8 to 64 characters."""


class KeyReusedError(IdempotencyError):
    """An Idempotency-Key came before with another request."""


class KeyInUseError(IdempotencyError, _LaterError):
    """The first request with this key is still running."""


class RateLimitedError(_LaterError):
    """Too many requests in a short time."""


class QuotaExhaustedError(_LaterError):
    """The quota of the day is used up."""


class OverloadedError(_LaterError):
    """A worker has more work than it can do in time."""


class DeadlineUnreachableError(_LaterError):
    """The answer cannot be made in what is left of the deadline, because the server is busy."""


class DeadlineTooShortError(PartnerRefusal):
    """The deadline is shorter than such an answer ever took."""


class VersionGoneError(PartnerRefusal):
    """The contract version is past its sunset."""


class FaultNotAllowedError(PartnerRefusal):
    """A live key asked for an injected fault."""


class FaultMalformedError(PartnerRefusal):
    """The fault that was asked for is none that there is."""
