"""``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10), written as structured fields.

Each policy is a quota ``q`` for a window of ``w`` seconds; its state is what remains (``r``) and in how many seconds
the window begins anew (``t``).

>>> rate_fields([Limit("minute", quota=60, window=60).state(used=12, reset=30)])["RateLimit"]
'"minute";r=48;t=30'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Limit", "LimitState", "rate_fields"]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in so many seconds; `name` is a plain word."""

    name: str
    quota: int
    window: int  # seconds

    def state(self, *, used: int, reset: int) -> LimitState:
        """Where it stands after `used` requests; `reset` is in seconds."""
        return LimitState(self, max(0, self.quota - used), max(0, reset))


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit, how many requests remain, and the seconds until all are there again."""

    limit: Limit
    remaining: int
    reset: int


def rate_fields(states: Sequence[LimitState]) -> dict[str, str]:
    """The two fields; none where there is no limit."""
    if not states:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{one.limit.name}";q={one.limit.quota};w={one.limit.window}' for one in states),
        "RateLimit": ", ".join(f'"{one.limit.name}";r={one.remaining};t={one.reset}' for one in states),
    }
