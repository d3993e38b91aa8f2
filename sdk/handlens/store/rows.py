"""The rows of one pack, while a transaction changes them.

Rules:

1. Rows are written in batches, by statements that SQLite prepares once: a base of 20,000 rows takes about a second.
2. A row that comes with the digest it already has is not touched.
3. The digest and the counts follow every change; nothing is counted again at the end.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from handlens.errors import DecodeError
from handlens.geometry import Box
from handlens.store.records import PackState
from handlens.store.schema import BETWEEN_TAGS, kind_word
from handlens.wire.item import Item
from handlens.wire.pack import (
    NO_ROWS,
    ItemEmbedding,
    PackChange,
    PackDelete,
    PackRow,
    PackUpsert,
    add_digests,
    encode_row,
    row_digest,
)

__all__ = ["RowTable", "proved_digest"]

_BATCH = 50  # rows written at a time: a few milliseconds


class RowTable:
    """The rows of `pack`, which holds the state `held` (None: no row).

    `keep` is called with an item id and the canonical text of the row that it had (None: it had none) before a change,
    `pace` after each row.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        pack: str,
        dim: int,
        held: PackState | None,
        *,
        keep: Callable[[str, bytes | None], None] | None,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._pack = pack
        self._dim = dim
        self._keep = keep
        self._pace = pace
        self._is_empty = held is None or not held.items
        self._items = 0 if held is None else held.items
        self._vectors = 0 if held is None else held.vectors
        self._digest = NO_ROWS if held is None else held.digest
        self._next_key = self._free_key()

    def summary(self) -> tuple[int, int, str]:
        """Items, vectors and digest of the rows as they are now."""
        return self._items, self._vectors, self._digest

    def apply(self, changes: Iterable[PackChange], progress: Callable[[int], None]) -> set[str]:
        """Make the changes; returns the ids of the items that were there in the end, of those that came.

        Raises:
            DecodeError: an item comes twice, or a code has another length or is zero.
        """
        seen: set[str] = set()
        kept: set[str] = set()
        batch: list[PackUpsert] = []
        for done, change in enumerate(changes, start=1):
            item_id = change.item_id if isinstance(change, PackDelete) else change.row.item.item_id
            if item_id in seen:
                raise DecodeError(f"item {item_id!r} of pack {self._pack!r} comes twice: build the pack again")
            seen.add(item_id)
            self._pace()
            if isinstance(change, PackDelete):
                self._remove(item_id)
            else:
                kept.add(item_id)
                batch.append(change)
            if len(batch) == _BATCH:
                self._write(batch)
                batch = []
                progress(done)
        self._write(batch)
        progress(len(seen))
        return kept

    def remove_all_but(self, kept: set[str]) -> None:
        """Remove the rows of all other items."""
        rows = self._db.execute("SELECT item_id FROM items WHERE pack = ?", (self._pack,)).fetchall()
        for (item_id,) in rows:
            if item_id not in kept:
                self._remove(item_id)

    def _write(self, batch: list[PackUpsert]) -> None:
        for upsert in batch:
            self._check(upsert.row)
        self._pace()
        fresh = (
            batch if self._is_empty and self._keep is None else [upsert for upsert in batch if self._make_way(upsert)]
        )
        try:
            self._insert(fresh)
        except UnicodeEncodeError as error:
            raise DecodeError(
                f"pack {self._pack!r} has text that is not Unicode ({error}): build the pack again"
            ) from error

    def _make_way(self, upsert: PackUpsert) -> bool:
        """Remove the row that an upsert replaces; False where it would change nothing."""
        item_id = upsert.row.item.item_id
        self._pace()
        found = self._find(item_id)
        if found is not None and found[1] == upsert.digest:
            return False
        if found is not None:
            self._remove_found(item_id, *found)
        elif self._keep is not None:
            self._keep(item_id, None)
        return True

    def _remove(self, item_id: str) -> None:
        found = self._find(item_id)
        if found is not None:
            self._remove_found(item_id, *found)

    def _find(self, item_id: str) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._db.execute(
            "SELECT item_key, digest FROM items WHERE pack = ? AND item_id = ?", (self._pack, item_id)
        ).fetchone()
        return row

    def _remove_found(self, item_id: str, item_key: int, digest: bytes) -> None:
        if self._keep is not None:
            self._keep(item_id, _row_text(self._db, item_key))
        self._db.execute("DELETE FROM texts WHERE rowid = ?", (item_key,))
        vectors = self._db.execute("DELETE FROM vectors WHERE item_key = ?", (item_key,)).rowcount
        self._db.execute("DELETE FROM items WHERE item_key = ?", (item_key,))  # its thumbnail follows
        self._items -= 1
        self._vectors -= vectors
        self._digest = add_digests(self._digest, removed=[digest])

    def _insert(self, upserts: list[PackUpsert]) -> None:
        keyed = list(enumerate(upserts, start=self._next_key))
        self._next_key += len(keyed)
        self._db.executemany(
            "INSERT INTO items (item_key, pack, item_id, kind, object_type, locale, audience, quality, record, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_item_values(key, self._pack, upsert) for key, upsert in keyed],
        )
        self._pace()
        vectors = [
            (key, box.x_min, box.y_min, box.x_max, box.y_max, part.code)
            for key, upsert in keyed
            for part in upsert.row.embeddings
            for box in (part.box,)
        ]
        self._db.executemany(
            "INSERT INTO vectors (item_key, x_min, y_min, x_max, y_max, code) VALUES (?, ?, ?, ?, ?, ?)", vectors
        )
        thumbnails = [(key, upsert.row.thumbnail) for key, upsert in keyed if upsert.row.thumbnail]
        self._db.executemany("INSERT INTO thumbnails VALUES (?, ?)", thumbnails)
        self._pace()
        self._db.executemany(
            "INSERT INTO texts (rowid, title, text, tags, kind) VALUES (?, ?, ?, ?, ?)",
            [(key, *_texts(upsert.row.item)) for key, upsert in keyed],
        )
        self._items += len(keyed)
        self._vectors += len(vectors)
        self._digest = add_digests(self._digest, added=(upsert.digest for upsert in upserts))

    def _check(self, row: PackRow) -> None:
        refused = f"item {row.item.item_id!r} of pack {self._pack!r}"
        for part in row.embeddings:
            if len(part.code) != self._dim or not any(part.code):
                raise DecodeError(f"{refused} has a code that is zero or not {self._dim} bytes: build the pack again")

    def _free_key(self) -> int:
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'items'").fetchone()
        return 1 if row is None else int(row[0]) + 1


def proved_digest(db: sqlite3.Connection, pack: str) -> str:
    """The digest of a pack's state, from the texts of all its rows as they are stored."""
    keys = db.execute("SELECT item_key FROM items WHERE pack = ?", (pack,)).fetchall()
    return add_digests(added=(row_digest(_row_text(db, key)) for (key,) in keys))


def _row_text(db: sqlite3.Connection, item_key: int) -> bytes:
    """The canonical text of a stored row."""
    record = db.execute("SELECT record FROM items WHERE item_key = ?", (item_key,)).fetchone()[0]
    parts = db.execute(
        "SELECT x_min, y_min, x_max, y_max, code FROM vectors WHERE item_key = ? ORDER BY vector_id", (item_key,)
    ).fetchall()
    thumbnail = db.execute("SELECT webp FROM thumbnails WHERE item_key = ?", (item_key,)).fetchone()
    embeddings = tuple(ItemEmbedding(Box(*part[:4]), part[4]) for part in parts)
    row = PackRow(Item.from_dict(json.loads(record)), embeddings, b"" if thumbnail is None else thumbnail[0])
    return encode_row(row, record=record)


def _texts(item: Item) -> tuple[str, str, str, str]:
    return item.title, item.text, BETWEEN_TAGS.join(item.annotations), kind_word(item.kind)


def _item_values(key: int, pack: str, upsert: PackUpsert) -> tuple[Any, ...]:
    item = upsert.row.item
    return (
        key, pack, item.item_id, item.kind, item.object_type, item.locale, item.audience, item.quality,
        upsert.record, upsert.digest,
    )  # fmt: skip
