"""`outbox.db`: the events that wait to be sent, and who this device is to the server.

Rules:

1. An event is on the disk when `add` returns; a power cut may take only those that were added as not `durable`.
2. An event leaves only after the server said that it has it (`remove`), or that it will never take it (`refuse`).
3. The device id is random, made here, and made anew by `erase`. Nothing else about the device or its user is kept.
4. It is a file of its own: removing the store, or a store that is damaged, loses no event.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handlens.errors import FeedbackError
from handlens.faults import fault_point
from handlens.store.database import connect, require_whole_pages, translated

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Outbox", "Waiting"]

FILE_NAME = "outbox.db"
_APPLICATION_ID = 0x484C4F42  # "HLOB"
_MAX_REFUSED = 1000  # refused events kept for somebody to look at
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, line TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (event_id TEXT PRIMARY KEY, line TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Waiting(NamedTuple):
    """An event that waits: its id and its JSON text."""

    event_id: str
    line: str


class Outbox:
    """Any thread may call any method; several processes may share the file."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db
        self._lock = threading.RLock()

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open the outbox in a folder; made where there is none.

        Raises:
            StoreError: the folder or the file cannot be used. StoreCorruptError: the file is damaged.
        """
        path = data_dir / FILE_NAME
        with translated(path):
            try:
                data_dir.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    require_whole_pages(path)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
            db = connect(path, create=True)
            try:
                _prepare(db)
            except BaseException:
                db.close()
                raise
        return cls(path, db)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, event_id: str, line: str, *, most_bytes: int, durable: bool = True) -> None:
        """Keep an event. `durable` waits for the disk; otherwise a power cut, and only that, may lose it.

        Raises:
            FeedbackError: more than `most_bytes` wait already.
        """
        with self._write(durable=durable) as db:
            waiting = int(db.execute("SELECT coalesce(sum(length(line)), 0) FROM events").fetchone()[0])
            if waiting + len(line) > most_bytes:
                raise FeedbackError(
                    f"{waiting:,} bytes of events wait already, {most_bytes:,} may (outbox_bytes): sync to send them"
                )
            db.execute("INSERT OR IGNORE INTO events (event_id, line) VALUES (?, ?)", (event_id, line))
            fault_point("outbox.add")
        fault_point("outbox.added")

    def first(self, *, events: int, most_bytes: int) -> list[Waiting]:
        """The oldest events, at most so many and of so many bytes in all, but at least one where any waits."""
        rows = self._fetch("SELECT event_id, line FROM events ORDER BY number LIMIT ?", [events])
        batch: list[Waiting] = []
        size = 0
        for row in rows:
            size += len(row[1].encode()) + 1
            if batch and size > most_bytes:
                break
            batch.append(Waiting(*row))
        return batch

    def remove(self, event_ids: Sequence[str]) -> None:
        """Forget events that the server has."""
        with self._write() as db:
            db.executemany("DELETE FROM events WHERE event_id = ?", [(event_id,) for event_id in event_ids])
            fault_point("outbox.remove")
        fault_point("outbox.removed")

    def refuse(self, reasons: dict[str, str]) -> None:
        """Put events aside that the server will never take, with its reason for each."""
        with self._write() as db:
            for event_id, reason in reasons.items():
                db.execute(
                    "INSERT OR REPLACE INTO refused SELECT event_id, line, ? FROM events WHERE event_id = ?",
                    (reason, event_id),
                )
                db.execute("DELETE FROM events WHERE event_id = ?", (event_id,))
            db.execute(
                "DELETE FROM refused WHERE rowid NOT IN (SELECT rowid FROM refused ORDER BY rowid DESC LIMIT ?)",
                (_MAX_REFUSED,),
            )

    def change(self, changed: Callable[[str], str | None]) -> None:
        """Put `changed(line)` in place of the line of every event that waits; None removes the event. All or none."""
        with self._write() as db:
            for number, line in db.execute("SELECT number, line FROM events").fetchall():
                text = changed(line)
                if text is None:
                    db.execute("DELETE FROM events WHERE number = ?", (number,))
                elif text != line:
                    db.execute("UPDATE events SET line = ? WHERE number = ?", (text, number))
            fault_point("outbox.change")

    def count(self) -> int:
        """How many events wait."""
        return int(self._fetch("SELECT count(*) FROM events")[0][0])

    def refused(self) -> dict[str, str]:
        """The events put aside: id to reason."""
        return dict(self._fetch("SELECT event_id, reason FROM refused ORDER BY rowid"))

    def lines(self) -> list[str]:
        """Every event that waits, oldest first."""
        return [row[0] for row in self._fetch("SELECT line FROM events ORDER BY number")]

    def device_id(self) -> str:
        """The random id (UUID 4) of this device, made when it is first asked for."""
        found = self.note("device_id")
        if found is None:
            with self._write() as db:
                db.execute("INSERT OR IGNORE INTO identity VALUES ('device_id', ?)", (str(uuid.uuid4()),))
            found = self.note("device_id") or ""
        return found

    def note(self, name: str) -> str | None:
        """What is noted under a name (device_id, token, rotate_after, erase_token), or None."""
        rows = self._fetch("SELECT value FROM identity WHERE name = ?", [name])
        return str(rows[0][0]) if rows else None

    def set_notes(self, **notes: str | None) -> None:
        """Change notes in one transaction; None removes one."""
        with self._write() as db:
            for name, value in notes.items():
                if value is None:
                    db.execute("DELETE FROM identity WHERE name = ?", (name,))
                else:
                    db.execute("INSERT OR REPLACE INTO identity VALUES (?, ?)", (name, value))

    def erase(self) -> None:
        """Remove every event and the identity; a token stays noted as ``erase_token`` until the server was told."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO identity SELECT 'erase_token', value FROM identity WHERE name = 'token'")
            db.execute("DELETE FROM identity WHERE name <> 'erase_token'")
            db.execute("DELETE FROM events")
            db.execute("DELETE FROM refused")
            fault_point("outbox.erase")
        with self._lock, translated(self._path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("VACUUM")  # deleted rows would stay readable in the file

    @contextmanager
    def _write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _fetch(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock, translated(self._path):
            return self._db.execute(query, values).fetchall()


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA secure_delete = ON")
    db.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";\n"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.execute("COMMIT")
