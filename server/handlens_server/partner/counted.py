"""Counts that all workers of a machine share: a storage of `limits` in a SQLite file (``counted:///path/counts.db``).

The library's own storage in memory counts in each worker alone, so that a partner's limit would depend on which worker
its connections meet; its shared ones (Redis and others) are servers, which one machine does not need. Rules:

1. Nothing is synced to the disk: a count is worth a minute, and a power cut may lose it. One count takes some ten
   microseconds.
2. A count that cannot be read is an error of the storage (`StorageError`); who asks decides what that means.
3. A connection belongs to one process and is used by one thread at a time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from limits.storage import Storage

__all__ = ["CountedStorage"]

_WAIT_SECONDS = 1.0  # for another worker's count
_SWEPT = 8  # counts of windows long over that are removed with each new window
_TABLE = "CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, used INTEGER NOT NULL, expires REAL NOT NULL)"
_COUNT = """
INSERT INTO counts VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET
    used = CASE WHEN expires <= ?4 THEN ?2 ELSE used + ?2 END,
    expires = CASE WHEN expires <= ?4 THEN ?3 ELSE expires END
RETURNING used
"""
_SWEEP = "DELETE FROM counts WHERE key IN (SELECT key FROM counts WHERE expires <= ? LIMIT ?)"


class CountedStorage(Storage):
    """Fixed windows in a file."""

    STORAGE_SCHEME = ["counted"]  # noqa: RUF012 -- the library's own way to register a storage

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._path = Path(unquote(urlsplit(uri or "").path))
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the file can raise."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a count, and begin its window anew where it is over; the count."""
        now = time.time()
        with self._lock:
            ((used,),) = self._open().execute(_COUNT, (key, amount, now + expiry, now)).fetchall()
            if used == amount:
                self._open().execute(_SWEEP, (now, _SWEPT))
        return int(used)

    def get(self, key: str) -> int:
        """The count of a window that is not over, or 0."""
        used, expires = self._found(key)
        return used if expires > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since 1970; now, where there is none."""
        return max(self._found(key)[1], time.time())

    def check(self) -> bool:
        """Whether counts can be read."""
        try:
            self._found("")
        except sqlite3.Error:
            return False
        return True

    def reset(self) -> int:
        """Forget all counts; how many there were."""
        with self._lock:
            return self._open().execute("DELETE FROM counts").rowcount

    def clear(self, key: str) -> None:
        """Forget a count."""
        with self._lock:
            self._open().execute("DELETE FROM counts WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file; it is opened anew when needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _found(self, key: str) -> tuple[int, float]:
        with self._lock:
            row = self._open().execute("SELECT used, expires FROM counts WHERE key = ?", (key,)).fetchone()
        return (0, 0.0) if row is None else (int(row[0]), float(row[1]))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():
            self._connection = _connected(self._path)
            self._process = os.getpid()
        return self._connection


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(_TABLE)
    return connection
