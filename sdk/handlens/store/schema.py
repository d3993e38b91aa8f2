"""The tables of `store.db`, and the check that a file is a store of this version.

Rules:

* `application_id` says that the file is a handlens store, `user_version` which schema it has. A newer one is refused.
* `item_key` and `vector_id` are never used twice (AUTOINCREMENT): a key that a search still holds while its pack is
  replaced leads to nothing, never to another item. `vector_id` is the id in an index.
* `items.digest` is the digest of the item's whole row, `packs.digest` that of the pack's state (see `wire.pack`).
* `undo` holds, for each item that the last release changed, the row it had before (NULL: none), `former_packs` the
  packs as they were, `former_documents` and `former_slots` the rest: together the previous release, until the next one.
* `texts` (FTS5) has one row an item, under the item's key. It is written where `items` is written, in one transaction.
  Its column `kind` holds `kind_word` alone, so that the matches of one kind are found without touching the others.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from handlens.errors import NotReadyError, StoreCorruptError, StoreVersionError

__all__ = ["BETWEEN_TAGS", "create", "kind_word", "require_current"]

_APPLICATION_ID = 0x484C4E53  # "HLNS"
_VERSION = 3

BETWEEN_TAGS = " zqz "  # a word nobody searches: without it a phrase could match across two tags

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('generation', 0), ('texts', 0);
CREATE TABLE packs (
    pack TEXT PRIMARY KEY, sequence INTEGER NOT NULL, as_of TEXT NOT NULL, space TEXT NOT NULL, dim INTEGER NOT NULL,
    items INTEGER NOT NULL, vectors INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE former_packs (
    pack TEXT PRIMARY KEY, sequence INTEGER NOT NULL, as_of TEXT NOT NULL, space TEXT NOT NULL, dim INTEGER NOT NULL,
    items INTEGER NOT NULL, vectors INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE undo (pack TEXT NOT NULL, item_id TEXT NOT NULL, line BLOB, PRIMARY KEY (pack, item_id)) WITHOUT ROWID;
CREATE TABLE items (
    item_key INTEGER PRIMARY KEY AUTOINCREMENT, pack TEXT NOT NULL REFERENCES packs, item_id TEXT NOT NULL,
    kind TEXT NOT NULL, object_type TEXT NOT NULL, locale TEXT NOT NULL, audience TEXT NOT NULL, quality REAL NOT NULL,
    record TEXT NOT NULL, digest BLOB NOT NULL, UNIQUE (pack, item_id)
);
CREATE INDEX items_by_id ON items (item_id);
CREATE TABLE vectors (
    vector_id INTEGER PRIMARY KEY AUTOINCREMENT, item_key INTEGER NOT NULL REFERENCES items ON DELETE CASCADE,
    x_min REAL NOT NULL, y_min REAL NOT NULL, x_max REAL NOT NULL, y_max REAL NOT NULL, code BLOB NOT NULL
);
CREATE INDEX vectors_by_item ON vectors (item_key);
CREATE TABLE thumbnails (item_key INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE, webp BLOB NOT NULL);
CREATE VIRTUAL TABLE texts USING fts5 (title, text, tags, kind, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TABLE documents (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE former_documents (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE slots (
    slot TEXT PRIMARY KEY, file TEXT NOT NULL, sha256 TEXT NOT NULL, meta TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE former_slots (
    slot TEXT PRIMARY KEY, file TEXT NOT NULL, sha256 TEXT NOT NULL, meta TEXT NOT NULL
) WITHOUT ROWID;
"""


def kind_word(kind: str) -> str:
    """The word that stands for a kind in the column `kind`."""
    return f"zq{kind.replace('_', '')}"


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an empty database, all or nothing; does nothing where a store stands."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(db):
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def require_current(db: sqlite3.Connection, path: Path) -> None:
    """Raise unless the database is a store of this version.

    Raises:
        NotReadyError: it is empty.
        StoreCorruptError: it is something else.
        StoreVersionError: a newer or an older handlens wrote it.
    """
    application, found = _pragma(db, "application_id"), _pragma(db, "user_version")
    if application == 0 and _is_empty(db):
        raise NotReadyError(f"the store {path} is empty: sync, or install a release first")
    if application != _APPLICATION_ID:
        raise StoreCorruptError(f"{path} is a database, but not a store of handlens: choose another data_dir")
    if found > _VERSION:
        raise StoreVersionError(
            f"the store {path} has schema {found}, this handlens knows {_VERSION}: upgrade handlens, or install into "
            "another data_dir"
        )
    if found < _VERSION:
        raise StoreVersionError(
            f"the store {path} has schema {found} of an older handlens, this one knows {_VERSION}: remove the data_dir "
            "and sync again"
        )


def _is_empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0])


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
