"""Changes to the store, inside one transaction that `Store.write` opens and closes.

A new release is one such transaction: `remember` first, then `apply` for each pack file and `set_document` and
`set_slot` for the rest. What a row was before goes to the table `undo`, so that `go_back` can bring the former release
back without any file.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, replace
from typing import Any

from handlens.errors import HashMismatchError, IncompatibleError, NotReadyError, UnknownPackError
from handlens.store.records import PackState
from handlens.store.rows import RowTable
from handlens.wire.pack import NO_ROWS, PackChange, PackDelete, PackHeader, parse_change

__all__ = ["Writer"]

_RETURNING = """
SELECT count(*) FROM undo WHERE line IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM items WHERE items.pack = undo.pack AND items.item_id = undo.item_id)
"""
_STATE = "pack, sequence, as_of, space, dim, items, vectors, digest"


class Writer:
    """Use it only inside ``with store.write() as writer:``; what it did counts when the block ends without an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._is_remembering = False

    def remember(self) -> None:
        """From here on this transaction makes a new release: what is there now becomes the former release."""
        self.forget()
        for table in ("packs", "documents", "slots"):
            self._db.execute(f"INSERT INTO former_{table} SELECT * FROM {table}")  # nosec B608  # names of our own
        self._is_remembering = True

    def forget(self) -> None:
        """Drop the former release."""
        for table in ("undo", "former_packs", "former_documents", "former_slots"):
            self._db.execute(f"DELETE FROM {table}")  # nosec B608  # names of our own

    def go_back(self) -> int:
        """Bring the former release back: its packs that are still held, its documents and its slots.

        Returns how many items are there again that the release which is left had removed.

        Raises:
            NotReadyError: there is no former release.
            HashMismatchError: a pack would not be what it was.
        """
        if not self._db.execute("SELECT EXISTS (SELECT 1 FROM former_documents)").fetchone()[0]:
            raise NotReadyError("there is no former release to go back to: it is kept from one sync to the next only")
        returning = int(self._db.execute(_RETURNING).fetchone()[0])
        former = self._states("former_packs")
        for pack in self._states("packs"):
            if pack not in former:
                self.drop_pack(pack)
        for state in former.values():
            self._undo(state)
        for table in ("documents", "slots"):
            self._db.execute(f"DELETE FROM {table}")  # nosec B608  # names of our own
            self._db.execute(f"INSERT INTO {table} SELECT * FROM former_{table}")  # nosec B608  # names of our own
        self.forget()
        self._count("texts")
        self._next_generation()
        return returning

    def apply(
        self,
        header: PackHeader,
        changes: Iterable[PackChange],
        *,
        progress: Callable[[int], None] | None = None,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring a pack to the state of `header`. Changes are streamed: a pack never has to fit in memory.

        A base leaves exactly its own rows; rows that stay the same are not touched, so their keys stay. `progress` is
        called with the number of changes done, `pace` after each row.

        Raises:
            IncompatibleError: a delta for another state than the one held.
            HashMismatchError: the digest or the counts afterwards are not those of the header.
            DecodeError: an item comes twice, a code has another length or is zero; and what reading `changes` raises.
        """
        held = self._states("packs").get(header.pack)
        self._require_state(header, held)
        self._db.execute(
            f"INSERT INTO packs ({_STATE}) VALUES (?, ?, ?, ?, ?, 0, 0, ?) ON CONFLICT DO NOTHING",  # nosec B608  # names of our own
            (header.pack, header.sequence, header.as_of, header.space, header.dim, NO_ROWS),
        )
        table = RowTable(self._db, header.pack, header.dim, held, keep=self._keeper(header.pack), pace=pace)
        seen = table.apply(changes, progress or (lambda done: None))
        if header.kind == "base":
            table.remove_all_but(seen)
        state = PackState(header.pack, header.sequence, header.as_of, header.space, header.dim, *table.summary())
        _require_promised(header, state)
        self._set_state(state)
        self._next_generation()

    def merge(self, header: PackHeader, changes: Iterable[PackChange]) -> PackState:
        """Make changes that no release promised, and note the state that comes of them; `header` names the pack, its
        new sequence, and its embedding space. What the header counts is not looked at.

        Raises:
            DecodeError: an item comes twice, a code has another length or is zero.
        """
        held = self._states("packs").get(header.pack)
        if held is None:
            self._set_state(PackState(header.pack, 0, header.as_of, header.space, header.dim, 0, 0, NO_ROWS))
        table = RowTable(self._db, header.pack, header.dim, held, keep=None)
        table.apply(changes, lambda done: None)
        state = PackState(header.pack, header.sequence, header.as_of, header.space, header.dim, *table.summary())
        self._set_state(state)
        self._next_generation()
        return state

    def drop_pack(self, pack: str) -> None:
        """Remove a pack and all its rows, here and in the former release.

        Raises:
            UnknownPackError: it is not installed.
        """
        if not self._db.execute("SELECT EXISTS (SELECT 1 FROM packs WHERE pack = ?)", (pack,)).fetchone()[0]:
            raise UnknownPackError(f"pack {pack!r} is not installed: there is nothing to remove")
        self._db.execute("DELETE FROM texts WHERE rowid IN (SELECT item_key FROM items WHERE pack = ?)", (pack,))
        self._db.execute("DELETE FROM items WHERE pack = ?", (pack,))  # vectors and thumbnails follow
        for table in ("packs", "former_packs", "undo"):
            self._db.execute(f"DELETE FROM {table} WHERE pack = ?", (pack,))  # nosec B608  # names of our own
        self._next_generation()

    def set_document(self, name: str, text: str) -> None:
        """Keep a text (policy, taxonomy, release...) under a name."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (name, text))
        self._count("texts")

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

    def require_one_space(self) -> None:
        """What must hold when the transaction ends: all packs have vectors of one embedding space.

        Raises:
            IncompatibleError: two packs have not.
        """
        states = sorted(self._states("packs").values(), key=lambda state: state.sequence)
        for one, other in itertools.pairwise(states):
            if (one.space, one.dim) != (other.space, other.dim):
                raise IncompatibleError(
                    f"pack {one.pack!r} has vectors of {one.space!r} ({one.dim}), pack {other.pack!r} of "
                    f"{other.space!r} ({other.dim}): install packs of one embedder, or remove {one.pack!r} first"
                )

    def _keeper(self, pack: str) -> Callable[[str, bytes | None], None] | None:
        """How the rows that change are remembered; None where no former release has this pack."""
        if not self._is_remembering or pack not in self._states("former_packs"):
            return None
        return lambda item_id, line: self._keep(pack, item_id, line)

    def _keep(self, pack: str, item_id: str, line: bytes | None) -> None:
        # A second file may change an item again: the row of the former release is the first one kept.
        self._db.execute("INSERT OR IGNORE INTO undo VALUES (?, ?, ?)", (pack, item_id, line))

    def _undo(self, former: PackState) -> None:
        if former.pack not in self._states("packs"):
            return  # the user dropped it since
        held = self._states("packs")[former.pack]
        if held.sequence == former.sequence:
            return
        table = RowTable(self._db, former.pack, former.dim, held, keep=None)
        kept = self._db.execute("SELECT item_id, line FROM undo WHERE pack = ?", (former.pack,)).fetchall()
        table.apply(
            (
                PackDelete(item_id) if line is None else parse_change(line, dim=former.dim, what="a kept row")
                for item_id, line in kept
            ),
            lambda done: None,
        )
        items, vectors, digest = table.summary()
        if digest != former.digest:
            raise HashMismatchError(f"pack {former.pack!r} cannot be brought back as it was: sync to a newer release")
        self._set_state(replace(former, items=items, vectors=vectors))

    def _set_state(self, state: PackState) -> None:
        self._db.execute(f"INSERT OR REPLACE INTO packs ({_STATE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(state))

    def _states(self, table: str) -> dict[str, PackState]:
        return {row[0]: PackState(*row) for row in self._db.execute(f"SELECT {_STATE} FROM {table}")}  # nosec B608  # names of our own

    def _require_state(self, header: PackHeader, held: PackState | None) -> None:
        if header.kind == "base":
            return
        if (
            held is None
            or held.sequence != header.from_sequence
            or (held.space, held.dim) != (header.space, header.dim)
        ):
            found = "nothing" if held is None else f"state {held.sequence} in {held.space!r}"
            raise IncompatibleError(
                f"the delta of pack {header.pack!r} is for state {header.from_sequence} in {header.space!r}, the store "
                f"holds {found}: fetch the base of the pack"
            )

    def _next_generation(self) -> None:
        self._count("generation")

    def _count(self, name: str) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = ?", (name,))


def _require_promised(header: PackHeader, state: PackState) -> None:
    found = (state.items, state.vectors, state.digest)
    if found != (header.items, header.vectors, header.digest):
        raise HashMismatchError(
            f"pack {header.pack!r} would have {state.items} items, {state.vectors} vectors and the digest "
            f"{state.digest[:16]}..., its header promises {header.items}, {header.vectors}, {header.digest[:16]}...: "
            "fetch the base of the pack"
        )
