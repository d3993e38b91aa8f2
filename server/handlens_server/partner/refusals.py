"""What a partner's call is refused with by the parts that keep the endpoint steady.

::

    PartnerError
    ├── KeyMissingError             400 idempotency-key-missing     a write has no Idempotency-Key
    ├── KeyMalformedError           400 idempotency-key-malformed   it is no plain word of 8 to 64 characters
    ├── KeyReusedError              422 idempotency-key-reused      it came before with another request
    ├── KeyInUseError               409 idempotency-running         the first request with it is still running
    ├── RateLimitedError            429 rate-limited                too many requests in a short time
    ├── QuotaExceededError          429 quota-exceeded              the quota of the day is used up
    ├── OverloadedError             503 overloaded                  this worker has more work than it can do in time
    ├── DeadlineUnreachableError    503 deadline-unreachable        too busy to answer within `deadline_ms`
    ├── DeadlineTooShortError       422 deadline-too-short          no such answer was ever made in so short a time
    ├── VersionGoneError            410 version-gone                the contract version is past its sunset
    ├── FaultNotAllowedError        403 test-key-needed             a live key asked for a fault
    └── FaultMalformedError         400 fault-malformed             there is no such fault

What may succeed later is retryable, and says after how many seconds.
"""

from __future__ import annotations

from handlens_server.partner.errors import PartnerError

__all__ = [
    "DeadlineTooShortError",
    "DeadlineUnreachableError",
    "FaultMalformedError",
    "FaultNotAllowedError",
    "KeyInUseError",
    "KeyMalformedError",
    "KeyMissingError",
    "KeyReusedError",
    "OverloadedError",
    "QuotaExceededError",
    "RateLimitedError",
    "VersionGoneError",
]


class KeyMissingError(PartnerError):
    """A write has no Idempotency-Key."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "idempotency-key-missing", message)


class KeyMalformedError(PartnerError):
    """An Idempotency-Key is no plain word of 8 to 64 characters."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "idempotency-key-malformed", message)


class KeyReusedError(PartnerError):
    """An Idempotency-Key came before with another request."""

    def __init__(self, message: str) -> None:
        super().__init__(422, "idempotency-key-reused", message)


class KeyInUseError(PartnerError):
    """The first request with this key is still running."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(409, "idempotency-running", message, retry_after=max(1, retry_after))


class RateLimitedError(PartnerError):
    """Too many requests in a short time."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(429, "rate-limited", message, retry_after=max(1, retry_after))


class QuotaExceededError(PartnerError):
    """The quota of the day is used up."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(429, "quota-exceeded", message, retry_after=max(1, retry_after))


class OverloadedError(PartnerError):
    """A worker has more work than it can do in time."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(503, "overloaded", message, retry_after=max(1, retry_after))


class DeadlineUnreachableError(PartnerError):
    """The server is too busy to answer within the deadline."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(503, "deadline-unreachable", message, retry_after=max(1, retry_after))


class DeadlineTooShortError(PartnerError):
    """No such answer was ever made in so short a time."""

    def __init__(self, message: str) -> None:
        super().__init__(422, "deadline-too-short", message)


class VersionGoneError(PartnerError):
    """The contract version is past its sunset."""

    def __init__(self, message: str) -> None:
        super().__init__(410, "version-gone", message)


class FaultNotAllowedError(PartnerError):
    """A live key asked for an injected fault."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "test-key-needed", message)


class FaultMalformedError(PartnerError):
    """The fault that was asked for is none that there is."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "fault-malformed", message)
