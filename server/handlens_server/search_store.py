"""The items of the catalogue in a store as devices have it, for the server's own searches. Derived, never the truth.

It is the only module of the server that uses the device's store (ADR 0010): the same FTS5 tables rank words alike on
both sides, whatever database the catalogue lies in. Rules:

1. It follows the numbers of the catalogue: a refresh reads the items that changed since the last one, and no others.
2. One process of a machine writes it at a time (a lock file); all read it, and see what was written at once.
3. Each part of a refresh is one transaction, with the number it came to: killed anywhere, it goes on there.
4. It may be deleted at any time. A damaged one, or one of another version, is made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Executable, and_, select
from sqlalchemy.orm import Session

from handlens.errors import StoreCorruptError, StoreVersionError
from handlens.faults import fault_point
from handlens.geometry import Box
from handlens.store import Store, TextHit
from handlens.wire.item import Item
from handlens.wire.pack import PackChange, PackDelete, PackHeader, PackRow, PackUpsert, encode_row, row_digest
from handlens_server.catalogue import parse_record
from handlens_server.embedding_rows import decode_parts, with_colours
from handlens_server.tables import EmbeddingRow, ItemRow

__all__ = ["SearchStore"]

_PACK = "catalogue"  # the one pack of the store
_BATCH = 1000  # items of one transaction: some 0.1 s


class SearchStore:
    """The store of one embedding space, in a folder of its own below `folder`. Thread-safe.

    Raises:
        StoreError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, space: str, dim: int) -> None:
        self.space = space
        self.dim = dim
        self._folder = folder / hashlib.sha256(space.encode()).hexdigest()[:16]
        self._lock = FileLock(f"{self._folder}.lock", timeout=0)
        folder.mkdir(parents=True, exist_ok=True)
        self._store = self._open()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    @property
    def sequence(self) -> int:
        """The number of the catalogue that the store shows."""
        return next((pack.sequence for pack in self._store.packs()), 0)

    @property
    def as_of(self) -> str:
        """When it came to that number; empty while it holds nothing."""
        return next((pack.as_of for pack in self._store.packs()), "")

    def generation(self) -> int:
        """A number that changes with every change."""
        return self._store.generation()

    def refresh(self, session: Session, now: str) -> int:
        """Take over what changed in the catalogue; how many items that were.

        Nothing is done, and 0 returned, while another process does it.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            with self._lock:
                return self._refresh(session, now)
        except Timeout:
            return 0

    def search_text(self, term: str, *, limit: int, locale: str = "") -> list[TextHit]:
        """See `handlens.store.Store.search_text`."""
        return self._store.search_text(term, limit=limit, locale=locale)

    def items_by_id(self, item_ids: Sequence[str]) -> dict[str, tuple[int, Item]]:
        """Key and item of each of `item_ids`; those that are not held are left out."""
        return self._store.items_by_id(item_ids)

    def codes_of(self, item_keys: Sequence[int]) -> dict[int, list[tuple[Box, bytes]]]:
        """Box and int8 code of every part of the items under `item_keys`."""
        return self._store.codes_of(item_keys)

    def _refresh(self, session: Session, now: str) -> int:
        changed = 0
        with session.execute(_changes(self.space, self.sequence)) as found:
            for rows in found.partitions():
                header = self._header(rows[-1].sequence, now, len(rows))
                with self._store.write() as writer:
                    writer.merge(header, _operations(rows))
                fault_point("search.refreshed")
                changed += len(rows)
        return changed

    def _header(self, sequence: int, now: str, changes: int) -> PackHeader:
        return PackHeader(_PACK, "base", 0, sequence, now, self.space, self.dim, 0, 0, changes, "")

    def _open(self) -> Store:
        try:
            return Store.open(self._folder, create=True)
        except (StoreCorruptError, StoreVersionError):
            with self._lock.acquire(timeout=60):
                shutil.rmtree(self._folder, ignore_errors=True)
                return Store.open(self._folder, create=True)


def _operations(rows: Sequence[Any]) -> Iterator[PackChange]:
    for row in rows:
        if row.is_withdrawn:
            yield PackDelete(row.item_id)
            continue
        parts = () if row.parts is None else decode_parts(row.parts, row.codes)
        item = with_colours(parse_record(row.record), row.parts)
        packed = PackRow(item, parts)  # without thumbnail: answers carry none
        record = json.dumps(item.to_dict(), ensure_ascii=False)
        yield PackUpsert(packed, row_digest(encode_row(packed, record=record)), record)


def _changes(space: str, after: int) -> Executable:
    in_space = and_(EmbeddingRow.picture == ItemRow.picture, EmbeddingRow.space == space)
    columns = (ItemRow.item_id, ItemRow.sequence, ItemRow.is_withdrawn, ItemRow.record)
    query = select(*columns, EmbeddingRow.parts, EmbeddingRow.codes).outerjoin(EmbeddingRow, in_space)
    query = query.where(ItemRow.sequence > after).order_by(ItemRow.sequence)
    return query.execution_options(yield_per=_BATCH)
