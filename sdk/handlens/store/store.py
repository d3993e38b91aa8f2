"""The device's store: one SQLite file with the packs' items, vectors, thumbnails and texts, and which files are in use.

Rules:

* Readers never wait for a writer (WAL): each reads the last committed state. Writers wait for each other, within the
  process and between processes, the latter for at most five seconds.
* Within one `Store` the small reads share one connection under a lock, so any thread may call any method; a read takes
  a fraction of a millisecond. `vectors`, `vector_ids` and `check`, which take longer, use a connection of their own.
* A write is one transaction: all of it or nothing, whatever dies in between.
* An item never changes under its key, so parsed items are kept (at most 512) and never go stale.
* No vector stays in memory here.

>>> with Store.open(folder, create=True) as store:          # doctest: +SKIP
...     with store.write() as writer:
...         writer.apply(*read_pack(path))
...     ids, codes = store.vectors()
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import DecodeError, NotReadyError, StoreCorruptError, StoreError, UnknownPackError
from handlens.faults import fault_point
from handlens.geometry import Box
from handlens.store import schema
from handlens.store.database import REINSTALL, connect, require_whole_pages, translated
from handlens.store.filters import ItemFilter, marks
from handlens.store.records import PackState, Slot, StoredPart, StoreStats, TextHit
from handlens.store.rows import proved_digest
from handlens.store.texts import find_text
from handlens.store.writer import Writer
from handlens.wire.fields import load_object
from handlens.wire.item import Item

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["FILE_NAME", "Store"]

FILE_NAME = "store.db"
_CACHED_PARTS = 2048  # what vectors stand for, of one generation: with their items at most 6 MB
_CACHED_ITEMS = 512  # parsed items kept: about 2 MB
_KEYS_A_QUERY = 500  # SQLite of old allows 999 parameters
_ROWS_A_FETCH = 4096


class Store:
    """Open it with `Store.open`, close it with `close` or as a context manager. Do not carry it across a fork."""

    def __init__(self, data_dir: Path, db: sqlite3.Connection) -> None:
        self._data_dir = data_dir
        self._path = data_dir / FILE_NAME
        self._db = db
        self._reading = threading.RLock()
        self._writing = threading.Lock()
        self._items: dict[int, Item] = {}
        self._parts: tuple[int, dict[int, StoredPart]] = (-1, {})

    @classmethod
    def open(cls, data_dir: Path, *, create: bool = False) -> Self:
        """Open the store in a folder; with `create`, make folder and store where there is none.

        Raises:
            NotReadyError: there is no store, or an empty one, and `create` is not set.
            StoreCorruptError: the file is damaged or not a store of handlens.
            StoreVersionError: a newer handlens wrote it.
            StoreError: the folder or the file cannot be used.
        """
        path = data_dir / FILE_NAME
        _require_file(data_dir, path, create=create)
        with translated(path):
            db = connect(path, create=create)
            try:
                if create:
                    _create_if_empty(db)
                schema.require_current(db, path)
            except BaseException:
                db.close()
                raise
        return cls(data_dir, db)

    def close(self) -> None:
        """Close the file; a closed store raises `StoreError` when it is used."""
        with self._reading:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """One transaction: committed when the block ends, undone when it raises.

        Raises:
            StoreError: another process writes for too long, the disk is full, or the folder may not be written.
            StoreCorruptError: the file is damaged. IncompatibleError: the packs would be of two embedding spaces.
        """
        with self._writing, translated(self._path), closing(connect(self._path)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                writer = Writer(db)
                yield writer
                writer.require_one_space()
                fault_point("store.before_commit")
                db.execute("COMMIT")
                fault_point("store.after_commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def packs(self) -> tuple[PackState, ...]:
        """The states of the installed packs, by name."""
        rows = self._fetch("SELECT pack, sequence, as_of, space, dim, items, vectors, digest FROM packs ORDER BY pack")
        return tuple(PackState(*row) for row in rows)

    def document(self, name: str) -> str:
        """The text under `name`.

        Raises:
            NotReadyError: there is none.
        """
        text = self.optional_document(name)
        if text is None:
            raise NotReadyError(f"the store {self._path} has no {name}: sync or install a release first")
        return text

    def optional_document(self, name: str) -> str | None:
        """The text under `name`, or None."""
        return next((str(text) for (text,) in self._fetch("SELECT text FROM documents WHERE name = ?", [name])), None)

    def former_document(self, name: str) -> str | None:
        """The text that the former release has under `name`, or None where no former release is kept."""
        rows = self._fetch("SELECT text FROM former_documents WHERE name = ?", [name])
        return next((str(text) for (text,) in rows), None)

    def former_slots(self) -> tuple[Slot, ...]:
        """The slots of the former release, by name."""
        return self._slots("former_slots")

    def slot(self, name: str) -> Slot | None:
        """The file in a slot, or None."""
        return next((slot for slot in self.slots() if slot.name == name), None)

    def slots(self) -> tuple[Slot, ...]:
        """Every slot that is filled, by name."""
        return self._slots("slots")

    def _slots(self, table: str) -> tuple[Slot, ...]:
        rows = self._fetch(f"SELECT slot, file, sha256, meta FROM {table} ORDER BY slot")  # nosec B608  # names of our own
        return tuple(Slot(name, file, sha256, self._load(meta)) for name, file, sha256, meta in rows)

    def generation(self) -> int:
        """A number that changes whenever a pack changes: what was derived from another one is stale."""
        return int(self._fetch("SELECT value FROM meta WHERE name = 'generation'")[0][0])

    def version(self) -> str:
        """A text that changes whenever a pack, a document or the file in the slot `index` changes."""
        counters = self._fetch("SELECT value FROM meta UNION ALL SELECT sha256 FROM slots WHERE slot = 'index'")
        return ":".join(str(value) for (value,) in counters)

    def vectors(self, packs: Sequence[str] = (), *, after: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The ids (n,) and int8 codes (n, dim) of all vectors, or of those of `packs`, by id, in one consistent state.

        With `after` only those with an id above it, which are those that came later.

        Raises:
            UnknownPackError: one of `packs` is not installed.
        """
        self._require_known(packs)
        where, values = ItemFilter(packs=tuple(packs)).where()
        joined = f"JOIN items USING (item_key) WHERE {where} AND" if packs else "WHERE"
        source, asked = f"FROM vectors {joined} vector_id > ?", [*(values if packs else ()), after]
        with self._snapshot() as db:
            count = int(db.execute(f"SELECT count(*) {source}", asked).fetchone()[0])
            dim = int(db.execute("SELECT coalesce(max(dim), 0) FROM packs").fetchone()[0])
            ids, codes = np.empty(count, np.int64), np.empty((count, dim), np.int8)
            rows = db.execute(f"SELECT vector_id, code {source} ORDER BY vector_id", asked)
            for start in range(0, count, _ROWS_A_FETCH):
                part = rows.fetchmany(_ROWS_A_FETCH)
                ids[start : start + len(part)] = [row[0] for row in part]
                codes[start : start + len(part)] = self._join_codes([row[1] for row in part], dim)
        return ids, codes

    def count_vectors(self, *, after: int = 0) -> int:
        """How many vectors have an id above `after`."""
        return int(self._fetch("SELECT count(*) FROM vectors WHERE vector_id > ?", [after])[0][0])

    def vector_ids(self, *, packs: Sequence[str] = (), locale: str = "", audience: str = "") -> NDArray[np.int64]:
        """The ids (n,) of the vectors whose items pass, ascending: what a search allows.

        Raises:
            UnknownPackError: one of `packs` is not installed.
        """
        wanted = ItemFilter(packs=tuple(packs), locale=locale, audience=audience)
        self._require_known(packs)
        where, values = wanted.where()
        source = f"FROM vectors JOIN items USING (item_key) WHERE {where}" if values else "FROM vectors"
        # As one text: row by row, every row would take the interpreter's lock from a search that runs meanwhile.
        with self._snapshot() as db:
            joined = db.execute(f"SELECT coalesce(group_concat(vector_id), '') {source}", values).fetchone()[0]
        return np.sort(np.fromstring(joined, np.int64, sep=","))

    def items_of(self, vector_ids: Sequence[int]) -> dict[int, StoredPart]:
        """Item and box of each of `vector_ids`; an id whose pack is gone is left out."""
        with self._reading:
            parts = self._parts_of(self.generation())
            missing = [vector_id for vector_id in vector_ids if vector_id not in parts]
            if missing:
                parts.update(self._find_parts(missing))
            found = {vector_id: parts[vector_id] for vector_id in vector_ids if vector_id in parts}
            _make_room(parts, _CACHED_PARTS)
        return found

    def search_text(
        self, term: str, *, limit: int, packs: Sequence[str] = (), locale: str = "", audience: str = ""
    ) -> list[TextHit]:
        """Items whose title, text or tags hold a word or phrase: the best `limit`, of all kinds in turn, best first.

        Scored as `handlens.store.texts` says. Words are compared by their English stem, without case and accents.

        Raises:
            UnknownPackError: one of `packs` is not installed.
            ValueError: `limit` is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}: ask for at least 1 item")
        with self._one_state():
            self._require_known(packs)
            found = find_text(self._fetch, term, ItemFilter(tuple(packs), locale, audience), limit)
            items = self._items_by_key([hit.key for hit in found])
        return [TextHit(hit.key, items[hit.key], hit.score) for hit in found if hit.key in items]

    def items_by_id(self, item_ids: Sequence[str], *, packs: Sequence[str] = ()) -> dict[str, tuple[int, Item]]:
        """Key and item of each of `item_ids`; those that are not held are left out.

        Raises:
            UnknownPackError: one of `packs` is not installed.
        """
        self._require_known(packs)
        where, values = ItemFilter(packs=tuple(packs)).where()
        rows: list[Any] = []
        for start in range(0, len(item_ids), _KEYS_A_QUERY):
            part = item_ids[start : start + _KEYS_A_QUERY]
            query = f"SELECT item_id, min(item_key) FROM items WHERE item_id IN ({marks(part)}) AND {where}"  # nosec B608  # names of our own
            rows += self._fetch(f"{query} GROUP BY item_id", [*part, *values])
        with self._reading:
            items = self._items_by_key([key for _, key in rows])
        return {item_id: (key, items[key]) for item_id, key in rows if key in items}

    def codes_of(self, item_keys: Sequence[int]) -> dict[int, list[tuple[Box, bytes]]]:
        """Box and int8 code of every part of the items under `item_keys`."""
        found: defaultdict[int, list[tuple[Box, bytes]]] = defaultdict(list)
        for key, *edges, code in self._fetch_many(
            "SELECT item_key, x_min, y_min, x_max, y_max, code FROM vectors WHERE item_key", list(item_keys)
        ):
            found[key].append((Box(*edges), code))
        return dict(found)

    def thumbnail(self, item_key: int) -> bytes | None:
        """The item's thumbnail (WebP), or None."""
        rows = self._fetch("SELECT webp FROM thumbnails WHERE item_key = ?", [item_key])
        return bytes(rows[0][0]) if rows else None

    def stats(self) -> StoreStats:
        """Sizes for `handlens status`."""
        tables = ("packs", "items", "vectors", "thumbnails")
        counts = [int(self._fetch(f"SELECT count(*) FROM {table}")[0][0]) for table in tables]  # nosec B608  # names of our own
        files = (self._path, self._path.with_name(f"{FILE_NAME}-wal"))
        return StoreStats(sum(file.stat().st_size for file in files if file.exists()), *counts)

    def check(self) -> None:
        """Read the whole file, compare its parts (SQLite's integrity check) and prove the digest of every pack.

        It takes seconds for a large store.

        Raises:
            StoreCorruptError: it is damaged.
        """
        with self._snapshot() as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check")]
            if found != ["ok"]:
                raise self._damaged(str(found[0]))
            for pack, digest in db.execute("SELECT pack, digest FROM packs").fetchall():
                if proved_digest(db, pack) != digest:
                    raise self._damaged(f"pack {pack!r} does not hold the rows that it should")

    def _fetch(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading, translated(self._path):
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.ProgrammingError as error:
                raise StoreError(f"the store {self._path} was closed: open it again") from error

    def _fetch_many(self, query: str, keys: Sequence[int]) -> list[Any]:
        """Rows of a query that ends in a column, for which ``IN (keys)`` is asked."""
        rows: list[Any] = []
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = [int(key) for key in keys[start : start + _KEYS_A_QUERY]]
            rows += self._fetch(f"{query} IN ({marks(part)})", part)
        return rows

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """The queries inside see one state of the store, whatever is committed meanwhile."""
        with self._reading:
            self._fetch("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:  # a damaged file ends it by itself
                    self._fetch("COMMIT")

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path), closing(connect(self._path)) as db:
            db.execute("BEGIN")
            yield db

    def _require_known(self, packs: Sequence[str]) -> None:
        if not packs:
            return
        known = [row[0] for row in self._fetch("SELECT pack FROM packs ORDER BY pack")]
        unknown = [pack for pack in packs if pack not in known]
        if unknown:
            raise UnknownPackError(
                f"pack {unknown[0]!r} is not installed: installed are {', '.join(map(repr, known)) or 'none'}"
            )

    def _parts_of(self, generation: int) -> dict[int, StoredPart]:
        """The parts that are known of this generation; those of another may be gone."""
        if self._parts[0] != generation:
            self._parts = (generation, {})
        return self._parts[1]

    def _find_parts(self, vector_ids: Sequence[int]) -> dict[int, StoredPart]:
        rows = self._fetch_many(
            "SELECT vector_id, item_key, code, x_min, y_min, x_max, y_max FROM vectors WHERE vector_id", vector_ids
        )
        items = self._items_by_key([row[1] for row in rows])
        return {row[0]: StoredPart(row[1], items[row[1]], Box(*row[3:]), row[2]) for row in rows if row[1] in items}

    def _items_by_key(self, keys: Sequence[int]) -> dict[int, Item]:
        missing = [key for key in dict.fromkeys(keys) if key not in self._items]
        found = self._fetch_many("SELECT item_key, record FROM items WHERE item_key", missing)
        parsed = {key: self._parse(key, record) for key, record in found}
        items = {key: self._items.pop(key) for key in dict.fromkeys(keys) if key in self._items} | parsed
        self._items.update(items)  # last in the dictionary: the least recently used are dropped first
        _make_room(self._items, _CACHED_ITEMS)
        return items

    def _parse(self, item_key: int, record: str) -> Item:
        try:
            return Item.from_dict(self._load(record))
        except DecodeError as error:
            raise self._damaged(f"item {item_key}: {error}") from error

    def _load(self, text: str) -> dict[str, Any]:
        try:
            return load_object(text, what="a record")
        except DecodeError as error:
            raise self._damaged(str(error)) from error

    def _join_codes(self, codes: Sequence[bytes], dim: int) -> NDArray[np.int8]:
        joined = np.frombuffer(b"".join(codes), np.int8)
        if len(joined) != len(codes) * dim:
            raise self._damaged(f"a code has not {dim} bytes")
        return joined.reshape(len(codes), dim)

    def _damaged(self, how: str) -> StoreCorruptError:
        return StoreCorruptError(f"the store {self._path} is damaged ({how}): {REINSTALL}")


def _require_file(data_dir: Path, path: Path, *, create: bool) -> None:
    try:
        if create:
            data_dir.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise NotReadyError(
                f"there is no store in {data_dir}: sync or install a release first, or choose another data_dir"
            )
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is not a file: choose another data_dir")
        if path.exists():
            require_whole_pages(path)
    except OSError as error:
        raise StoreError(f"the folder {data_dir} cannot be used ({error}): choose another data_dir") from error


def _create_if_empty(db: sqlite3.Connection) -> None:
    if not db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0]:
        schema.create(db)


def _make_room(cache: dict[Any, Any], size: int) -> None:
    """Drop the oldest entries of a dictionary until it has at most `size`."""
    while len(cache) > size:
        del cache[next(iter(cache))]
