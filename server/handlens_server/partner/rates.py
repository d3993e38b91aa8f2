"""How many requests a partner may send in a short time, counted over all workers by the library `limits`.

Rules:

1. Windows are fixed and begin with the first request in them: what remains, and until when, is exact and can be told.
   Twice the quota may pass around the end of a window; what a server bears in a moment is held by `admission`.
2. A refused request is not an error of the partner's day: only the window counts it, no quota.
3. Counts that cannot be read stop nobody: they are logged, and the request goes on.
"""

from __future__ import annotations

import time

import structlog
from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from handlens_server.config import Config
from handlens_server.partner import counted as _counted
from handlens_server.partner.rate_fields import Limit, LimitState
from handlens_server.partner.refusals import RateLimitedError

__all__ = ["Rates"]

_log = structlog.get_logger("handlens_server.partner")


class Rates:
    """The windows of all partners."""

    def __init__(self, config: Config) -> None:
        url = config.limits_url
        if url.startswith("memory:"):  # a worker's own memory: a file counts for all workers of the machine
            url = f"counted://{(config.data_dir / 'partner-counts.db').resolve()}"
        self._storage = storage_from_string(url, wrap_exceptions=True)
        self._limiter = FixedWindowRateLimiter(self._storage)

    def take(self, owner: str, limit: Limit) -> LimitState | None:
        """Count a request; where its limit stands now, or nothing when that cannot be known.

        Raises:
            RateLimitedError: the window is full.
        """
        item = RateLimitItemPerSecond(limit.quota, limit.window, namespace="partner")
        try:
            is_free = self._limiter.hit(item, owner, limit.name)
            stats = self._limiter.get_window_stats(item, owner, limit.name)
        except StorageError as error:
            _log.warning("rates-not-counted", reason=str(error))
            return None
        reset = max(1, round(stats.reset_time - time.time() + 0.5))
        if is_free:
            return LimitState(limit, stats.remaining, reset)
        raise RateLimitedError(
            f"more than {limit.quota} requests in {limit.window} seconds: send the next in {reset} seconds", reset
        )

    def reset(self, owner: str, limit: Limit) -> None:
        """Begin the window of a limit anew."""
        item = RateLimitItemPerSecond(limit.quota, limit.window, namespace="partner")
        self._limiter.clear(item, owner, limit.name)

    def close(self) -> None:
        """Close what is open."""
        if isinstance(self._storage, _counted.CountedStorage):
            self._storage.close()
