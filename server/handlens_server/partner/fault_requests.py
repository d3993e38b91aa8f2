"""Faults that a partner's own team asks for, to see that its client bears them: ``Handlens-Fault``, with a test key.

Rules:

1. ``slow`` waits before the answer, ``rate-limited`` is a 429 and ``unavailable`` a 503 with their ``Retry-After``,
   ``malformed`` is a 200 whose body breaks off: no JSON. ``slow;ms=1500`` says how slow.
2. The fault comes after the checks of access, and before anything is done: a write that is answered by a fault was not
   made.
3. A live key with this header is refused, whatever the header says: what a camera in a pocket can ask for must not
   depend on a header that a test left there.
4. A slow answer sleeps in its own thread, at most `MOST_SLOW_MS`, and at most `MOST_SLEEPERS` at once in a worker: the
   others are not slow, so that no test key can hold a worker's threads.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass

from handlens_server.partner.refusals import (
    FaultMalformedError,
    FaultNotAllowedError,
    OverloadedError,
    RateLimitedError,
)

__all__ = ["FAULTS", "MALFORMED_BODY", "MOST_SLEEPERS", "MOST_SLOW_MS", "Fault", "Sleeper", "read_fault"]

FAULTS = ("malformed", "rate-limited", "slow", "unavailable")
MALFORMED_BODY = b'{"request_id": "'  # breaks off, as a broken proxy would leave it
MOST_SLOW_MS = 10_000
MOST_SLEEPERS = 2
_SLOW_MS = 2000
_RETRY_AFTER = 1  # seconds
_HEADER = re.compile(r"(malformed|rate-limited|slow|unavailable)(?:;\s*ms=([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was asked for."""

    kind: str
    slow_ms: int = 0

    def refuse(self) -> None:
        """Raise what the fault is a refusal of, if it is one.

        Raises:
            RateLimitedError, OverloadedError: as was asked for.
        """
        if self.kind == "rate-limited":
            raise RateLimitedError("this 429 was asked for by Handlens-Fault", _RETRY_AFTER)
        if self.kind == "unavailable":
            raise OverloadedError("this 503 was asked for by Handlens-Fault", _RETRY_AFTER)


def read_fault(header: str | None, *, is_test: bool) -> Fault | None:
    """The fault in the header, if there is one.

    Raises:
        FaultNotAllowedError: the key is a live one. FaultMalformedError: there is no such fault.
    """
    if header is None:
        return None
    if not is_test:
        raise FaultNotAllowedError("Handlens-Fault is for test keys: leave it out, or use a test key")
    found = _HEADER.fullmatch(header.strip())
    if found is None or (found[2] and (found[1] != "slow" or int(found[2]) > MOST_SLOW_MS)):
        raise FaultMalformedError(
            f"Handlens-Fault is malformed: give {', '.join(FAULTS)}, or slow;ms=1500 (at most {MOST_SLOW_MS})"
        )
    return Fault(found[1], int(found[2] or _SLOW_MS) if found[1] == "slow" else 0)


class Sleeper:
    """Makes answers slow. Thread-safe."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(MOST_SLEEPERS)

    def sleep(self, milliseconds: int) -> bool:
        """Sleep, unless enough do already; whether it slept."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            time.sleep(milliseconds / 1000)
        finally:
            self._free.release()
        return True
