"""Connections to `store.db`, and the translation of SQLite's errors into ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handlens.errors import StoreCorruptError, StoreError

__all__ = ["REINSTALL", "connect", "require_whole_pages", "translated"]

REINSTALL = "remove it and sync again"
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_BUSY_TIMEOUT = 5.0  # seconds that a writer waits for another process's transaction


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode that any thread may use, one at a time."""
    mode = "rwc" if create else "rw"
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    db.execute("PRAGMA foreign_keys = ON")
    # In WAL mode NORMAL may lose the last commit when the power fails: a slot that was switched must stay switched.
    db.execute("PRAGMA synchronous = FULL")
    return db


def require_whole_pages(path: Path) -> None:
    """Refuse a file that ends within a page. SQLite would fill it up with zeros, or take it for empty.

    A power cut while the log is copied into the file may leave such an end, too: then the log has that page, whole.

    Raises:
        StoreCorruptError: it was cut short.
    """
    with path.open("rb") as file:
        header, size = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
    # Bytes 16 and 17 are the page size, big-endian, 1 for 65,536 (sqlite.org/fileformat2.html, "The Database Header").
    page = int.from_bytes(header[16:18], "big") if len(header) == _HEADER_BYTES else 0
    page = 65_536 if page == 1 else page
    if size and not _has_log(path) and (not page or (header.startswith(_MAGIC) and size % page)):
        raise StoreCorruptError(f"the store {path} is damaged (it is cut short): {REINSTALL}")


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.is_file() and log.stat().st_size > 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what sqlite3 raises into a `StoreError` that names cause and remedy.

    sqlite3 raises `OperationalError` for what surrounds the file (busy, full, not permitted) and a bare `DatabaseError`
    for what is wrong inside it (SQLITE_CORRUPT, SQLITE_NOTADB).
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"the store {path} cannot be used ({error}): {_remedy(str(error))}") from error
    except sqlite3.DatabaseError as error:
        raise StoreCorruptError(f"the store {path} is damaged ({error}): {REINSTALL}") from error


def _remedy(message: str) -> str:
    if "locked" in message:
        return "another process is writing to it, try again when it is done"
    if "full" in message or "disk I/O" in message:  # a full disk has no room for the log's index either
        return "make room on the disk or, if there is, check the disk"
    if "no such" in message:
        return f"its tables are not those of handlens, {REINSTALL}"
    return "check that its folder exists and may be written, or choose another data_dir"
