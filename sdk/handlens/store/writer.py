"""Changes to the store, inside one transaction that `Store.write` opens and closes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

from handlens.errors import DecodeError, IncompatibleError, UnknownPackError
from handlens.store.schema import BETWEEN_TAGS
from handlens.wire.item import Item
from handlens.wire.pack import PackHeader, PackRow

__all__ = ["Writer"]


class Writer:
    """Use it only inside ``with store.write() as writer:``; what it did counts when the block ends without an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def replace_pack(self, header: PackHeader, rows: Iterable[PackRow]) -> None:
        """Put the pack's `rows` in place of all that it had. Rows are streamed: a pack never has to fit in memory.

        Raises:
            IncompatibleError: another pack has vectors of another embedding space or dimension.
            DecodeError: an item comes twice, a code has another length or is zero, or the rows are not as many as the
                header promises; and whatever reading `rows` raises.
        """
        self._require_same_space(header)
        self._remove_rows(header.pack)
        self._db.execute(
            "INSERT OR REPLACE INTO packs VALUES (?, ?, ?, ?, ?, ?, ?)",
            (header.pack, header.sequence, header.as_of, header.space, header.dim, header.items, header.vectors),
        )
        items = vectors = 0
        for row in rows:
            self._insert_row(header, row)
            items, vectors = items + 1, vectors + len(row.embeddings)
        if (items, vectors) != (header.items, header.vectors):
            raise DecodeError(
                f"pack {header.pack!r} has {items} items and {vectors} vectors, its header promises {header.items} and "
                f"{header.vectors}: fetch the pack again"
            )
        self._next_generation()

    def drop_pack(self, pack: str) -> None:
        """Remove a pack and all its rows.

        Raises:
            UnknownPackError: it is not installed.
        """
        self._remove_rows(pack)
        if not self._db.execute("DELETE FROM packs WHERE pack = ?", (pack,)).rowcount:
            raise UnknownPackError(f"pack {pack!r} is not installed: there is nothing to remove")
        self._next_generation()

    def set_document(self, name: str, text: str) -> None:
        """Keep a text (policy, taxonomy, release...) under a name."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (name, text))

    def set_slot(self, slot: str, file: str, sha256: str, meta: Mapping[str, Any] | None = None) -> None:
        """Switch a slot to `file`, a path inside the data folder. The file that it held is not touched.

        Raises:
            ValueError: `file` is absolute or leads out of the data folder.
        """
        if file.startswith(("/", "\\")) or ":" in file or ".." in file.replace("\\", "/").split("/"):
            raise ValueError(f"a slot holds a path inside the data folder, not {file!r}")
        noted = json.dumps(dict(meta or {}))
        self._db.execute("INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?)", (slot, file, sha256, noted))

    def clear_slot(self, slot: str) -> None:
        """Empty a slot; nothing happens when it is empty."""
        self._db.execute("DELETE FROM slots WHERE slot = ?", (slot,))

    def _require_same_space(self, header: PackHeader) -> None:
        other = self._db.execute(
            "SELECT pack, space, dim FROM packs WHERE pack <> ? AND (space <> ? OR dim <> ?)",
            (header.pack, header.space, header.dim),
        ).fetchone()
        if other is not None:
            raise IncompatibleError(
                f"pack {header.pack!r} has vectors of {header.space!r} ({header.dim}), the installed pack {other[0]!r} "
                f"of {other[1]!r} ({other[2]}): install packs of one embedder, or remove {other[0]!r} first"
            )

    def _remove_rows(self, pack: str) -> None:
        self._db.execute("DELETE FROM texts WHERE rowid IN (SELECT item_key FROM items WHERE pack = ?)", (pack,))
        self._db.execute("DELETE FROM items WHERE pack = ?", (pack,))  # vectors and thumbnails follow

    def _insert_row(self, header: PackHeader, row: PackRow) -> None:
        refused = f"item {row.item.item_id!r} of pack {header.pack!r}"
        for part in row.embeddings:
            if len(part.code) != header.dim or not any(part.code):
                raise DecodeError(f"{refused} has a code that is zero or not {header.dim} bytes: build the pack again")
        try:
            self._insert(header.pack, row)
        except sqlite3.IntegrityError as error:
            raise DecodeError(f"{refused} comes twice: build the pack again") from error
        except UnicodeEncodeError as error:
            raise DecodeError(f"{refused} has text that is not Unicode ({error}): build the pack again") from error

    def _insert(self, pack: str, row: PackRow) -> None:
        item_key = self._insert_item(pack, row.item)
        self._db.executemany(
            "INSERT INTO vectors (item_key, x_min, y_min, x_max, y_max, code) VALUES (?, ?, ?, ?, ?, ?)",
            [(item_key, *astuple(part.box), part.code) for part in row.embeddings],
        )
        if row.thumbnail:
            self._db.execute("INSERT INTO thumbnails VALUES (?, ?)", (item_key, row.thumbnail))
        self._db.execute(
            "INSERT INTO texts (rowid, title, text, tags) VALUES (?, ?, ?, ?)",
            (item_key, row.item.title, row.item.text, BETWEEN_TAGS.join(row.item.annotations)),
        )

    def _insert_item(self, pack: str, item: Item) -> int:
        record = json.dumps(item.to_dict(), ensure_ascii=False, separators=(",", ":"))
        cursor = self._db.execute(
            "INSERT INTO items (pack, item_id, kind, object_type, locale, audience, quality, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (pack, item.item_id, item.kind, item.object_type, item.locale, item.audience, item.quality, record),
        )
        return int(cursor.lastrowid or 0)

    def _next_generation(self) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
