"""The full index in the process: hnswlib, or an exact scan where that is enough or hnswlib is not installed.

Rules:

1. Each process of a node has the index in its memory and takes changes over from the database by itself.
2. The folder of the index is common to them: whoever holds its lock saves; the others take a newer build from there.
3. What is saved is a head start and no more: it is hashed, compared with the database, and made again when it is
   missing, damaged, or of another catalogue. Until then an exact index answers, and `status` says why.
4. A build goes on beside the index that answers; one assignment switches. It is due when there are many vectors and no
   graph, when changes have replaced a share of the graph, or when a check found a fault.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from sqlalchemy.orm import Session

from handlens.errors import StoreError
from handlens.index import ExactIndex, HnswIndex, available
from handlens.index.base import unit_row
from handlens_server.checking import Track, untracked
from handlens_server.database import Database
from handlens_server.full_index import (
    Found,
    IndexBusyError,
    IndexCheck,
    IndexStatus,
    IndexUnavailableError,
    check_k,
)
from handlens_server.index_changes import catalogue_sequence, compared, count_items
from handlens_server.index_files import IndexFolder
from handlens_server.local_build import Build, follow, from_saved, nearest_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LocalIndex", "LocalIndexOptions"]

_TRIES = 3  # of a search that met a change; the last answer is taken as it is
_LOG = structlog.get_logger("handlens_server.index")


@dataclass(frozen=True, slots=True)
class LocalIndexOptions:
    """When an index in the process is built and saved."""

    exact_below: int = 10_000  # parts that an exact scan answers in half a millisecond
    threads: int = 2  # that link vectors while an index is built; changes are linked by one
    rebuild_share: float = 0.2  # replaced parts, of all, from which on a graph is built again
    save_changes: int = 1_000  # changes of items until the index is saved, at least; they are taken over in a second
    save_share: float = 0.01  # ... and at least this share of the parts: a save writes all of them


class LocalIndex:
    """See `FullIndex`. Without a `folder` nothing is saved.

    Memory per part: `dim` bytes as an exact index; 5 x `dim` bytes and some 190 bytes of links in a graph; 50 bytes
    beside either.
    """

    def __init__(
        self, *, space: str, dim: int, folder: Path | None = None, options: LocalIndexOptions | None = None
    ) -> None:
        self.space = space
        self.dim = dim
        self._options = options or LocalIndexOptions()
        self._folder = None if folder is None else IndexFolder(folder, space=space, dim=dim)
        self._changing = threading.RLock()
        self._fault = ""  # what a check found: the index is built again for it
        self._now = self._opened()

    @property
    def sequence(self) -> int:
        """See `FullIndex`."""
        return self._now.sequence

    def __len__(self) -> int:
        return self._now.table.parts

    def refresh(self, session: Session) -> int:
        """See `FullIndex.refresh`. The first one compares an index that was opened from files with the database."""
        with self._changing:
            if not self._now.is_filled:
                return self._first_refresh(session)
            return follow(self._now, session, self.space)

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: Collection[str] | None = None) -> list[Found]:
        """See `FullIndex.search`."""
        k, query = check_k(k), unit_row(vector, self.dim)
        for _ in range(_TRIES):
            now = self._now
            if not now.is_filled and not now.table.parts:
                raise IndexUnavailableError("the full index has not been filled since the start: try again later")
            version = now.table.version
            found, is_whole = nearest_parts(now, query, k, allowed)
            if is_whole and (allowed is None or version == now.table.version):
                break
        return found

    def maintain(self, database: Database) -> None:
        """See `FullIndex.maintain`."""
        if self._folder is not None:
            self._take_newer_build(self._folder, database)
        if not self._now.is_verified:
            with database.read() as session:
                self.check(session)
        reason = self._rebuild_reason()
        with suppress(IndexBusyError):  # another process does the same for all of us
            if reason:
                _LOG.info("index-rebuild", space=self.space, reason=reason)
                self.rebuild(database)
            elif self._folder is not None and self._save_is_due(self._folder):
                with self._folder.lock():
                    self._save(self._folder)

    def rebuild(self, database: Database, *, track: Track = untracked) -> None:
        """See `FullIndex.rebuild`.

        Raises:
            IndexBusyError: another process builds or saves.
        """
        if not self._now.is_filled:
            with database.read() as session:
                self.refresh(session)
        if self._folder is None:
            self._switch(database, self._built(database, track))
            return
        with self._folder.lock():
            self._switch(database, self._built(database, track))
            self._save(self._folder)

    def check(self, session: Session) -> IndexCheck:
        """See `FullIndex.check`. A fault makes the next `maintain` build the index again."""
        with self._changing:
            self.refresh(session)
            now = self._now
            held = now.table.sequences()
        verdict = compared(session, self.space, held)
        now.is_verified = True
        if not verdict.is_good:
            self._fault = "a check found it different from the database"
        return verdict

    def status(self) -> IndexStatus:
        """See `FullIndex.status`."""
        now, place = self._now, "" if self._folder is None else str(self._folder.path)
        return IndexStatus(now.kind, self.space, place, now.sequence, now.table.parts, now.reason)

    def close(self) -> None:
        """See `FullIndex.close`. What is not saved is taken over from the database by the next start."""

    def _opened(self) -> Build:
        if self._folder is None:
            return self._exact("no graph is built yet")
        try:
            saved = self._folder.open()
        except StoreError as error:
            _LOG.warning("index-not-opened", space=self.space, reason=str(error))
            return self._exact(f"the saved index cannot be used: {error}")
        return self._exact("no index is saved yet") if saved is None else from_saved(saved)

    def _first_refresh(self, session: Session) -> int:
        newest = catalogue_sequence(session)
        if self._now.sequence > newest:
            self._begin_again(f"it shows change {self._now.sequence}, the database has {newest}")
        changed = follow(self._now, session, self.space)
        items, held = count_items(session, self.space), self._now.table.items
        if held != items:
            self._begin_again(f"it has {held} items, the database has {items}")
            changed = follow(self._now, session, self.space)
        self._now.is_filled = True
        return changed

    def _exact(self, reason: str) -> Build:
        index = ExactIndex(space=self.space, dim=self.dim, dtype="int8")
        return Build(index, "exact", reason, is_verified=True)

    def _begin_again(self, reason: str) -> None:
        _LOG.warning("index-begun-again", space=self.space, reason=reason)
        self._now = self._exact(f"the saved index was given up: {reason}")

    def _rebuild_reason(self) -> str:
        now, options = self._now, self._options
        if self._fault:
            return self._fault
        if now.kind == "exact" and self._wants_graph():
            return f"{now.table.parts} parts are enough for a graph"
        # An exact index loses nothing by changes, but the table of its parts grows.
        most = options.rebuild_share * now.table.parts if now.kind == "hnsw" else now.table.parts + options.exact_below
        return f"{now.replaced} parts were replaced, {now.table.parts} are held" if now.replaced > most else ""

    def _wants_graph(self) -> bool:
        return available() is not None and self._now.table.parts >= max(self._options.exact_below, 1)

    def _built(self, database: Database, track: Track) -> Build:
        """A new index of all that the database has."""
        if self._wants_graph():
            graph = HnswIndex(space=self.space, dim=self.dim, threads=self._options.threads)
            made = Build(graph, "hnsw", str(available()), is_verified=True)
        else:
            made = self._exact(f"fewer than {self._options.exact_below} parts" if available() else "no hnswlib")
        with database.read() as session:
            follow(made, session, self.space, track)
        return made

    def _switch(self, database: Database, made: Build) -> None:
        """Let `made` answer, with what has changed meanwhile."""
        with self._changing, database.read() as session:
            follow(made, session, self.space)
            made.is_filled, self._fault = True, ""
            self._now = made

    def _take_newer_build(self, folder: IndexFolder, database: Database) -> None:
        """Answer from the build that another process has saved, when it is not the one we have."""
        manifest = folder.manifest()
        if manifest is None or manifest.build == self._now.build:
            return
        try:
            saved = folder.open()
        except StoreError as error:
            _LOG.warning("index-not-opened", space=self.space, reason=str(error))
            return
        with database.read() as session:
            is_ours = saved is not None and saved.manifest.sequence <= catalogue_sequence(session)
        if saved is not None and is_ours:
            self._switch(database, from_saved(saved))

    def _save_is_due(self, folder: IndexFolder) -> bool:
        """Whether the files are missing, cannot be used by us, or are so old that a start would take long."""
        manifest = folder.manifest()
        if not self._now.is_filled or (manifest is None and not self._now.table.parts):
            return False
        if manifest is None or manifest.build != self._now.build:
            return True
        least = max(self._options.save_changes, self._options.save_share * self._now.table.parts)
        return self._now.sequence - manifest.sequence >= least

    def _save(self, folder: IndexFolder) -> None:
        with self._changing:
            now = self._now
            folder.save(
                now.index, now.table, kind=now.kind, build=now.build, sequence=now.sequence, replaced=now.replaced
            )
        _LOG.info("index-saved", space=self.space, kind=now.kind, parts=now.table.parts, sequence=now.sequence)
