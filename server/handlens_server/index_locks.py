"""A lock that one process of a backend holds, on any of its nodes: PostgreSQL's, or a file's beside SQLite."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from handlens_server.database_errors import DatabaseError

__all__ = ["try_lock"]


@contextmanager
def try_lock(session: Session, name: str, folder: Path) -> Iterator[bool]:
    """Try to take the lock `name`, without waiting; whether it is ours is what the block is given.

    On PostgreSQL it is held until the session's transaction ends, else until the block does. A process that dies lets
    go of it.

    Raises:
        DatabaseError: the lock's file in `folder` cannot be written.
    """
    if session.get_bind().dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        yield bool(session.scalar(text("SELECT pg_try_advisory_xact_lock(:number)"), {"number": number}))
        return
    path = folder / f"{name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise DatabaseError(f"{path} cannot be written ({error.strerror}): give the right to write") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_ours = False
        else:
            is_ours = True
        yield is_ours
