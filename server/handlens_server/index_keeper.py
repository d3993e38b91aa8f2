"""Keeps the full index of a process in order behind its searches: saves it, takes newer builds, builds it again.

::

    keeper = IndexKeeper(index, database)
    keeper.start()
    ...
    keeper.close()
"""

from __future__ import annotations

import threading

import structlog

from handlens.errors import HandlensError
from handlens_server.database import Database
from handlens_server.full_index import FullIndex

__all__ = ["IndexKeeper"]

_LOG = structlog.get_logger("handlens_server.index")


class IndexKeeper:
    """A thread that calls `FullIndex.maintain` every `seconds`; refreshes are another's, they must not wait for it."""

    def __init__(self, index: FullIndex, database: Database, *, seconds: float = 5.0) -> None:
        self._index, self._database, self._seconds = index, database, seconds
        self._stopping = threading.Event()
        self._reason = ""
        self._thread = threading.Thread(target=self._keep, name="handlens-index", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the work at hand, which may be a build."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._index.maintain(self._database)
                self._reason = ""
            except HandlensError as error:
                if str(error) != self._reason:
                    _LOG.warning("index-not-maintained", space=self._index.space, reason=str(error))
                self._reason = str(error)
